"""`handclasp-pki rotate` and `renew`: the same identities with new keys and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pki.commands.daemon import until_stopped
from pki.commands.progress import progress
from pki.durations import parse_duration
from pki.errors import PKIError, UsageError
from pki.options import DatabaseOption, JsonOption, PassphraseOption, Shared, StateOption, current_time
from pki.presentation import PROGRAM, outcome_json, say, say_json, say_outcome
from pki.renewal import Refused
from pki.shell import complain

if TYPE_CHECKING:
    import threading

    from pki.issuing import Outcome
    from pki.lifecycle import Lifecycle

_NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones.")]


def rotate(
    context: typer.Context,
    names: _NamesArgument = None,
    all_names: Annotated[bool, typer.Option("--all", help="Every name there is.")] = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """New key, new certificate; same names, profile and life. Readers find the old pair or the new one.

    Works for those that have ended, too; --all leaves out what is revoked or on hold.

    \b
    handclasp-pki rotate alice bob
    handclasp-pki rotate --all
    """
    if bool(names) == all_names:
        raise UsageError("say which to rotate: one NAME or several, or --all")
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    count = len(names or lifecycle.names())
    with progress("rotating", count) as advance:
        outcomes = lifecycle.rotate(names or None, now=current_time(), on_each=lambda _: advance(1))
    if as_json:
        say_json([outcome_json(outcome) for outcome in outcomes])
        return
    for outcome in outcomes:
        say_outcome(outcome)
    if not count:
        say("nothing has been issued yet, so there is nothing to rotate")


def renew(
    context: typer.Context,
    names: _NamesArgument = None,
    due: Annotated[bool, typer.Option("--due", help="All that are past two thirds of their life.")] = False,
    daemon: Annotated[bool, typer.Option("--daemon", help="Renew what falls due until stopped.")] = False,
    every: Annotated[str, typer.Option("--every", metavar="SPAN", help="How often the daemon looks.")] = "1h",
    same_key: Annotated[bool, typer.Option("--same-key", help="Keep the private key.")] = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """New dates, same identity, and a new key unless --same-key. Only what is valid is renewed.

    --due is for cron and timers: a certificate falls due shortly before two thirds of its life, each at a time of its
    own. One that is revoked, on hold or has ended is not renewed.

    \b
    handclasp-pki renew alice bob
    handclasp-pki renew --due
    handclasp-pki renew --daemon --every 1h
    """
    if (bool(names), due, daemon).count(True) != 1:
        raise UsageError("say which to renew: one NAME or several, --due, or --daemon")
    shared = Shared.of(context, state, passphrase_file, database)
    if daemon and as_json:
        raise UsageError("--json is for an answer that ends: leave --daemon or --json out")
    if daemon:
        _watch(shared, parse_duration(every).total_seconds(), same_key=same_key)
    elif due:
        tell = _complain if as_json else _say
        renewals = shared.lifecycle().renew_due(now=current_time(), same_key=same_key, on_each=tell)
        if as_json:
            say_json([outcome_json(outcome) for outcome in renewals.done])
        elif not renewals.done and not renewals.refused:
            say("nothing is due")
        if renewals.refused:
            raise typer.Exit(1)
    else:
        done = shared.lifecycle().renew(
            names or [], now=current_time(), same_key=same_key, on_each=_complain if as_json else say_outcome
        )
        if as_json:
            say_json([outcome_json(outcome) for outcome in done])


def _watch(shared: Shared, seconds: float, *, same_key: bool) -> None:
    """Look, renew, wait; until SIGTERM or SIGINT. What is being renewed then is finished first."""
    with until_stopped() as stopped:
        lifecycle = shared.lifecycle()
        with lifecycle.reading() as here:  # what is wrong from the start is said at the start
            here.signer()
        say("renewing what falls due")
        while not stopped.is_set():
            _look(lifecycle, stopped, same_key=same_key)
            stopped.wait(seconds)


def _look(lifecycle: Lifecycle, stopped: threading.Event, *, same_key: bool) -> None:
    try:
        lifecycle.renew_due(now=current_time(), same_key=same_key, on_each=_say, stop=stopped.is_set)
    except (PKIError, OSError) as error:
        # A database that restarts, a disk that is full: the next look may find it mended.
        complain(PROGRAM, "error", str(error))


def _complain(outcome: Outcome | Refused) -> None:
    if isinstance(outcome, Refused):
        _say(outcome)


def _say(outcome: Outcome | Refused) -> None:
    if isinstance(outcome, Refused):
        complain(PROGRAM, "error", f"{outcome.name} was not renewed: {outcome.error}")
    else:
        say_outcome(outcome)
