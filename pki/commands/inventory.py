"""`handclasp-pki list`, `prune` and `upgrade`: what is in the inventory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from pki.durations import parse_duration
from pki.errors import UsageError
from pki.listing import STANDINGS
from pki.options import (
    DatabaseOption,
    JsonOption,
    PassphraseOption,
    Shared,
    StateOption,
    YesOption,
    confirm,
    current_time,
)
from pki.presentation import entry_json, say, say_json, show_entries, timestamp


def list_certificates(
    context: typer.Context,
    as_json: JsonOption = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of this name alone.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="STATE", help=f"{', '.join(STANDINGS)}; may be repeated.")
    ] = None,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Every certificate that was issued, and how it stands; by name, newest first.

    \b
    handclasp-pki list
    handclasp-pki list --json --name alice
    handclasp-pki list --only expired --only revoked
    """
    for word in only or ():
        if word not in STANDINGS:
            raise UsageError(f"{word!a} is no state of a certificate: use one of {', '.join(STANDINGS)}")
    now = current_time()
    entries = Shared.of(context, state, passphrase_file, database).lifecycle().entries(now=now, name=name)
    if only:
        entries = [entry for entry in entries if entry.standing in only]
    if as_json:
        say_json([entry_json(entry) for entry in entries])
    elif entries:
        show_entries(entries, now)
    else:
        say("nothing like that has been issued" if name or only else "nothing has been issued yet")


def prune(
    context: typer.Context,
    expired_before: Annotated[
        str, typer.Option("--expired-before", metavar="DATE|SPAN", help="2026-01-31, or 90d: so long ago.")
    ],
    yes: YesOption = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Forget certificates that ended before then. A revoked one stays until a CRL has shown it after its end.

    What is still in a credential folder stays, and no file is touched.

    \b
    handclasp-pki prune --expired-before 90d
    handclasp-pki prune --expired-before 2026-01-31 --yes
    """
    before = _moment(expired_before, current_time())
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    count = lifecycle.prunable(expired_before=before)
    if count:
        confirm(f"Forget {_certificates(count)} that ended before {before:%Y-%m-%d}?", yes=yes)
    if as_json:
        forgotten = lifecycle.prune(expired_before=before) if count else 0
        say_json({"forgotten": forgotten, "expired_before": timestamp(before)})
        return
    if not count:
        say(f"nothing that ended before {before:%Y-%m-%d} is left to forget")
        return
    say(f"forgot {_certificates(lifecycle.prune(expired_before=before))} that ended before {before:%Y-%m-%d}")


def upgrade(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Bring the inventory up to this version, and take in what one without an inventory has recorded.

    Interrupted at any instant, it can be run again.

    \b
    handclasp-pki upgrade
    handclasp-pki upgrade --database postgresql+psycopg://pki@db.internal/handclasp
    """
    changed, imported = Shared.of(context, state, passphrase_file, database).lifecycle().upgrade()
    if as_json:
        say_json({"upgraded": changed, "names": imported.names, "certificates": imported.certificates})
        return
    if imported.names or imported.certificates:
        say(f"took {imported.names} names and {_certificates(imported.certificates)} into the inventory")
    say("the inventory was upgraded" if changed else "the inventory is up to date")


def _certificates(count: int) -> str:
    return "1 certificate" if count == 1 else f"{count} certificates"


def _moment(text: str, now: datetime) -> datetime:
    """A date, or a span of time before now. Raises UsageError, for one in the future too."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - parse_duration(text)
        except (UsageError, OverflowError) as error:
            raise UsageError(f"{text!a} is neither a date like 2026-01-31 nor a span like 90d") from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment > now:
        raise UsageError(f"{text} is in the future: nothing has ended before then for certain")
    return moment
