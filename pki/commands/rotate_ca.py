"""`handclasp-pki rotate-ca`: the next authority, step by step, so that nobody is cut off."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from pki import shell, succession
from pki.authority import lifetime_of
from pki.commands.intermediate import IntermediateOption, RootPassphraseOption, root_passphrase
from pki.commands.progress import progress
from pki.durations import parse_duration
from pki.errors import UsageError
from pki.keys import describe_key
from pki.options import (
    DatabaseOption,
    DaysOption,
    JsonOption,
    KeyOption,
    PassphraseOption,
    Shared,
    StateOption,
    current_time,
)
from pki.presentation import say, say_json, say_note, show_table, timestamp
from pki.rotation import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.distribution import Distribution
    from pki.inventory.rows import AuthorityRow
    from pki.lifecycle import Lifecycle
    from pki.succession import Situation

rotate_ca_app = shell.new_app()

NameOption = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="The next authority's name.")]


@rotate_ca_app.callback(invoke_without_command=True)
def rotate_ca(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="All steps that are left, and every leaf issued again.")] = False,
    settle: Annotated[
        str, typer.Option("--settle", metavar="SPAN", help="With --now: how long readers have between two steps.")
    ] = "2s",
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Replace the authority. At every step whoever talked before still talks.

    \b
    handclasp-pki rotate-ca stage       make the next one; everybody trusts both
    handclasp-pki rotate-ca activate    the next one signs
    handclasp-pki rotate --all          (its leaves, now or when they fall due)
    handclasp-pki rotate-ca retire      the former one signs no more; tells which leaves it has left
    handclasp-pki rotate-ca prune       nobody trusts the former one any more
    handclasp-pki rotate-ca status      where each one stands
    handclasp-pki rotate-ca --now       all of it
    """
    context.obj = shared = Shared.of(context, state, passphrase_file, database)
    if context.invoked_subcommand is not None:
        if now:
            raise UsageError("--now walks all steps: leave the step away")
        return
    if not now:
        raise UsageError("say which step: stage, activate, retire, prune or status; or --now for all of them")
    _all_steps(shared.lifecycle(), parse_duration(settle))


@rotate_ca_app.command()
def stage(
    context: typer.Context,
    name: NameOption = None,
    key: KeyOption = None,
    days: DaysOption = None,
    intermediate: IntermediateOption = False,
    root_passphrase_file: RootPassphraseOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make the next authority, and put it into every trust bundle. It signs nothing yet.

    \b
    handclasp-pki rotate-ca stage
    handclasp-pki rotate-ca stage --name "Example CA 2" --key p384
    """
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    tell = say_note if as_json else say
    passphrase = _root_passphrase(lifecycle, root_passphrase_file, intermediate=intermediate, tell=tell)
    lifetime = None if days is None else lifetime_of(days)
    with lifecycle.writing() as here:
        row, folders = succession.stage(
            here, current_time(), name=name, key=key, lifetime=lifetime, root_passphrase=passphrase
        )
    if as_json:
        _say_step("stage", row, folders)
        return
    say(f"staged {row.name} in {lifecycle.state.path(row.folder)}: it is in {_folders(folders)}, and signs nothing yet")
    say_note("when every server and client has its bundle: `handclasp-pki rotate-ca activate`")
    folders.check()


@rotate_ca_app.command()
def activate(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Have the staged authority sign from now on.

    \b
    handclasp-pki rotate-ca activate
    handclasp-pki rotate --all          its leaves, now; or let `renew` do that
    """
    with Shared.of(context, state, passphrase_file, database).lifecycle().writing() as here:
        row, folders = succession.activate(here, current_time())
    if as_json:
        _say_step("activate", row, folders)
        return
    say(f"{row.name} signs from now on")
    say_note("issue its leaves with `handclasp-pki rotate --all`, or let `renew` do so; then `rotate-ca retire`")
    folders.check()


@rotate_ca_app.command()
def retire(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Have the former authority sign no more. It is trusted until its last leaf has ended or was issued again.

    \b
    handclasp-pki rotate-ca retire
    """
    with Shared.of(context, state, passphrase_file, database).lifecycle().writing() as here:
        situation, folders = succession.retire(here, current_time())
    if as_json:
        _say_step("retire", situation.row, folders, leaves_left=list(situation.left))
        return
    say(f"{situation.row.name} is retiring; {_left(situation)}")
    folders.check()


@rotate_ca_app.command()
def prune(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Take the retiring authority out of every trust bundle.

    \b
    handclasp-pki rotate-ca prune
    """
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    with lifecycle.writing() as here:
        row, folders = succession.prune(here, current_time())
    if as_json:
        _say_step("prune", row, folders)
        return
    say(f"{row.name} is retired: it is in no bundle any more. Its key in {lifecycle.state.path(row.folder)} has no use")
    folders.check()


@rotate_ca_app.command()
def publish(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Carry the present trust into every credential folder again: behind a step that could not reach all of them.

    \b
    handclasp-pki rotate-ca publish
    """
    with Shared.of(context, state, passphrase_file, database).lifecycle().writing() as here:
        folders = succession.publish(here, current_time())
    if as_json:
        _say_step("publish", None, folders)
        return
    say(f"the bundle is in {_folders(folders)}")
    folders.check()


@rotate_ca_app.command()
def status(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Where every authority stands, which leaves it has left, and which step comes next.

    \b
    handclasp-pki rotate-ca status
    handclasp-pki rotate-ca status --json
    """
    with Shared.of(context, state, passphrase_file, database).lifecycle().reading() as here:
        situations, step = succession.situations(here, current_time()), succession.next_legal(here)
    if as_json:
        say_json({"next": step, "authorities": [_json(situation) for situation in situations]})
        return
    rows = [
        (
            situation.row.name,
            situation.row.state.upper(),
            describe_key(situation.row.certificate.public_key()),
            f"{situation.row.not_after:%Y-%m-%d}",
            str(len(situation.left)),
            situation.row.sha256[:16],
            situation.row.folder,
        )
        for situation in situations
    ]
    show_table(("AUTHORITY", "STATE", "KEY", "EXPIRES", "LEAVES", "SHA-256", "FOLDER"), rows)
    say_note(f"the next step is `handclasp-pki rotate-ca {step}`")


def _all_steps(lifecycle: Lifecycle, settle: timedelta) -> None:
    """All that are left: where one was cut off, or taken by hand, it goes on from there."""
    with lifecycle.reading() as here:
        first = succession.next_legal(here)
    if first is Step.STAGE:
        passphrase = _root_passphrase(lifecycle, None, intermediate=False)
        with lifecycle.writing() as here:
            row, folders = succession.stage(here, current_time(), root_passphrase=passphrase)
        folders.check()
        say(f"staged {row.name} ({row.sha256[:16]})")
    else:
        with lifecycle.writing() as here:
            folders = succession.publish(here, current_time())
        folders.check()
        say_note(f"a replacement is under way, and goes on with `{first}`")
    if first in (Step.STAGE, Step.ACTIVATE):
        time.sleep(settle.total_seconds())
        with lifecycle.writing() as here:
            row, folders = succession.activate(here, current_time())
        folders.check()
        say(f"{row.name} ({row.sha256[:16]}) signs from now on")
    _issue_again(lifecycle)
    time.sleep(settle.total_seconds())
    with lifecycle.writing() as here:
        if first is not Step.PRUNE:
            _, folders = succession.retire(here, current_time())
            folders.check()
        row, folders = succession.prune(here, current_time())
    folders.check()
    say(f"{row.name} ({row.sha256[:16]}) is retired: it is in no bundle any more")


def _issue_again(lifecycle: Lifecycle) -> None:
    with lifecycle.reading() as here:
        names = succession.to_reissue(here, current_time())
    with progress("issuing again", len(names)) as advance:
        if names:
            lifecycle.rotate(names, now=current_time(), on_each=lambda _: advance(1))
    say(f"issued {len(names)} certificate{'' if len(names) == 1 else 's'} again")


def _say_step(step: str, row: AuthorityRow | None, folders: Distribution, **more: object) -> None:
    """What a step has done, as JSON. Raises StateError where a folder could not be reached."""
    said = {} if row is None else {"name": row.name, "sha256": row.sha256, "folder": row.folder}
    say_json({"step": step, **said, **more, "bundles_changed": folders.changed})
    folders.check()


def _root_passphrase(
    lifecycle: Lifecycle, file: str | None, *, intermediate: bool, tell: Callable[[str], None] = say
) -> bytes | None:
    """For an authority below a root: where that is asked for, or the present one is one."""
    return root_passphrase(file, tell=tell) if intermediate or lifecycle.signer().authority.root is not None else None


def _folders(folders: Distribution) -> str:
    return "1 more trust bundle" if folders.changed == 1 else f"{folders.changed} more trust bundles"


def _left(situation: Situation) -> str:
    if not situation.left:
        return "nothing that it signed is left: `handclasp-pki rotate-ca prune`"
    return f"it is trusted until these are issued again or have ended: {', '.join(situation.left)}"


def _json(situation: Situation) -> dict[str, object]:
    row = situation.row
    return {
        "name": row.name,
        "state": row.state,
        "sha256": row.sha256,
        "not_after": timestamp(row.not_after),
        "folder": row.folder,
        "leaves_left": list(situation.left),
    }
