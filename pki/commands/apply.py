"""`handclasp-pki apply`: a described authority into a plan, and a plan that was agreed to into Lifecycle calls."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki import applying, planning
from pki.authority_files import check_passphrase, read_passphrase
from pki.commands.intermediate import RootPassphraseOption
from pki.commands.plan_words import plan_json, say_plan
from pki.commands.progress import progress
from pki.description import FILE, Description
from pki.errors import UsageError
from pki.options import (
    DatabaseOption,
    JsonOption,
    PassphraseOption,
    Shared,
    StateOption,
    YesOption,
    confirm,
    current_time,
    path_of,
)
from pki.presentation import PROGRAM, say, say_json, say_note, say_outcome
from pki.renewal import Refused
from pki.shell import complain

if TYPE_CHECKING:
    from pki.applying import Applied
    from pki.issuing import Outcome
    from pki.lifecycle import Lifecycle
    from pki.planning import Plan

CHANGES = 3
"""The exit code of `--plan` where there is something to do: 0 is nothing, 1 and 2 are errors."""

PlanOption = Annotated[
    bool, typer.Option("--plan", "--dry-run", help="Show it and change nothing; exit 3 where there is something to do.")
]
PruneOption = Annotated[bool, typer.Option("--prune", help="Revoke names, too, that are not described any more.")]


def apply(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="What shall be: handclasp.toml by default.")] = FILE,
    plan: PlanOption = False,
    prune: PruneOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    root_passphrase_file: RootPassphraseOption = None,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make the authority and its names as handclasp.toml describes them. Shows the plan first, and asks.

    Also renews what is due, and publishes revocation lists in time: one timer is enough. What is as described is left
    alone, and where all of it is, nothing is written. What was signed for a key elsewhere (sign, token) is none of its.

    \b
    handclasp-pki init --toml                    a handclasp.toml to begin with
    handclasp-pki apply --plan                   what would be done; exit 3 where that is anything
    handclasp-pki apply                          show it, ask, do it
    handclasp-pki apply --yes                    from cron
    handclasp-pki apply team.toml --prune        revoke who has left
    """
    description = Description.load(path_of(file, "FILE"))
    lifecycle = described(Shared.of(context, state, passphrase_file, database), description).lifecycle()
    now = current_time()
    found = planning.plan(lifecycle, description, now=now, prune=prune)
    passphrase = _root_passphrase(found, root_passphrase_file)
    if not as_json:
        say_plan(found, description)
    for note in found.notes:
        say_note(note)
    done = None
    if not plan and not found.empty:
        confirm(f"Do this in {lifecycle.state.folder}?", yes=yes)
        done = _do(lifecycle, description, found, passphrase, quiet=as_json)
    if as_json:
        say_json(plan_json(found, done))
    for name, why in found.refused:
        complain(PROGRAM, "error", f"{name} is not as described: {why}")
    if found.refused or (done is not None and done.refused):
        raise typer.Exit(1)
    if done is not None and done.published is not None:
        done.published.folders.check()
    if plan and not found.empty:
        raise typer.Exit(CHANGES)


def described(shared: Shared, description: Description) -> Shared:
    """Where the state is: as options and the environment say, or else as the file does."""

    def said(option: str | None, variable: str, written: Any) -> str | None:
        if option is not None or os.environ.get(variable) or written is None:
            return option
        return str(written)

    return replace(
        shared,
        state=said(shared.state, "HANDCLASP_STATE", description.state),
        database=said(shared.database, "HANDCLASP_DATABASE", description.database),
        passphrase_file=said(shared.passphrase_file, "HANDCLASP_CA_PASSPHRASE", description.passphrase_file),
    )


def _do(
    lifecycle: Lifecycle, description: Description, plan: Plan, root_passphrase: bytes | None, *, quiet: bool
) -> Applied:
    with progress("applying", len(plan.steps)) as advance:
        if plan.authority is not None and not quiet:
            say(f"making the authority in {lifecycle.state.authority}")

        def tell(outcome: Outcome | Refused) -> None:
            advance(1)
            if isinstance(outcome, Refused):
                complain(PROGRAM, "error", f"{outcome.name} is not as described: {outcome.error}")
            elif not quiet:
                say_outcome(outcome)

        done = applying.apply(
            lifecycle, description, plan, now=current_time(), root_passphrase=root_passphrase, on_each=tell
        )
    if not quiet:
        for row in done.revoked:
            say(f"revoked {row.profile} {row.names.name} ({row.names.described()}), serial {row.serial}")
        if done.published is not None:
            say("published the revocation lists")
    return done


def _root_passphrase(plan: Plan, file: str | None) -> bytes | None:
    """For a root that is to be made. Raises UsageError where nobody said it: who reads cron's mails is not asked."""
    if plan.authority is None or not plan.authority.intermediate:
        return None
    if file is not None:
        return read_passphrase(path_of(file, "--root-passphrase-file"))
    given = os.environb.get(b"HANDCLASP_ROOT_PASSPHRASE")
    if given is None:
        raise UsageError(
            "the root's key is put away under a passphrase: pass --root-passphrase-file FILE, or set "
            "HANDCLASP_ROOT_PASSPHRASE"
        )
    return check_passphrase(given)
