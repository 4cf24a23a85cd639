"""`handclasp-pki revoke`, `unhold` and `crl`: what is not to be trusted any more, and saying so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pki.commands.daemon import until_stopped
from pki.commands.progress import progress
from pki.crl_signing import Reason
from pki.durations import parse_duration
from pki.errors import PKIError, StateError, UsageError
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
from pki.presentation import PROGRAM, row_json, say, say_json, say_note, timestamp
from pki.shell import complain

if TYPE_CHECKING:
    from datetime import timedelta

    from pki.inventory.rows import CertificateRow
    from pki.lifecycle import Lifecycle
    from pki.revocation import Published

_SerialOption = Annotated[str | None, typer.Option("--serial", metavar="HEX", help="As `list --json` shows it.")]
_NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="The certificate of this name.")]
_FileOption = Annotated[str | None, typer.Option("--file", metavar="FILE", help="The certificate in a file or folder.")]
_LONGEST_WAIT = 3600.0
_AFTER_AN_ERROR = 60.0


def revoke(
    context: typer.Context,
    serial: _SerialOption = None,
    name: _NameOption = None,
    file: _FileOption = None,
    reason: Annotated[Reason, typer.Option("--reason", help="Why; certificateHold can be undone.")] = (
        Reason.UNSPECIFIED
    ),
    every: Annotated[bool, typer.Option("--all", help="All live certificates of the name.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Revoke a certificate, and publish that at once, in every credential folder.

    Names what it will revoke, and asks. A name with several live certificates needs --serial or --all.

    \b
    handclasp-pki revoke --name alice --reason keyCompromise
    handclasp-pki revoke --serial 3fa9...  --reason superseded --yes
    handclasp-pki revoke --file found-on-a-stick/tls.crt --reason keyCompromise
    """
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    rows = _meant(lifecycle, serial, name, file)
    if len(rows) > 1 and not every:
        raise StateError(
            f"{name} has {len(rows)} live certificates, so none was revoked: say which with --serial, or --all: "
            + "; ".join(map(_described, rows))
        )
    confirm(f"Revoke {'; '.join(map(_described, rows))}, for {reason}?", yes=yes)
    revoked, published = lifecycle.revoke(rows, reason, now=current_time(), name=name)
    if as_json:
        say_json([row_json(row) | {"reason": reason} for row in revoked])
    for row in () if as_json else revoked:
        say(f"{'held' if reason is Reason.CERTIFICATE_HOLD else 'revoked'} {_described(row)}, for {reason}")
    _say_folders(published)


def unhold(
    context: typer.Context,
    serial: _SerialOption = None,
    name: _NameOption = None,
    file: _FileOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """End a certificateHold: the certificate is good again. What is revoked for another reason stays so.

    \b
    handclasp-pki unhold --name alice
    """
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    released, published = lifecycle.unhold(_meant(lifecycle, serial, name, file), now=current_time())
    if as_json:
        say_json([row_json(row) for row in released])
    for row in () if as_json else released:
        say(f"released {_described(row)}")
    _say_folders(published)


def crl(
    context: typer.Context,
    next_update: Annotated[
        str | None, typer.Option("--next-update", metavar="SPAN", help="How long it is good for: 24h, or as before.")
    ] = None,
    daemon: Annotated[bool, typer.Option("--daemon", help="Publish again at half life, until stopped.")] = False,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Publish the revocation lists anew: into DIR/ca.crl and every credential folder.

    Servers refuse everybody once their list is stale, so have this run by a timer, or with --daemon.

    \b
    handclasp-pki crl
    handclasp-pki crl --next-update 7d
    handclasp-pki crl --daemon
    """
    period = None if next_update is None else parse_duration(next_update)
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    if daemon:
        _keep_publishing(lifecycle, period)
        return
    with progress("publishing", len(lifecycle.names())) as advance:
        published = lifecycle.publish_lists(now=current_time(), period=period, advance=advance)
    if as_json:
        say_json(
            [
                {
                    "authority": row.name,
                    "sha256": row.sha256,
                    "number": turn.number,
                    "this_update": timestamp(turn.this_update),
                    "next_update": timestamp(turn.next_update),
                    "revoked": count,
                }
                for row, turn, count in published.turns
            ]
        )
    else:
        _say_lists(published)
    _say_folders(published)


def _meant(lifecycle: Lifecycle, serial: str | None, name: str | None, file: str | None) -> list[CertificateRow]:
    if (serial, name, file).count(None) != 2:
        raise UsageError("say which certificate: one of --serial, --name and --file")
    path = None if file is None else path_of(file, "--file")
    return lifecycle.revocable(now=current_time(), serial=serial, name=name, file=path)


def _keep_publishing(lifecycle: Lifecycle, period: timedelta | None) -> None:
    with until_stopped() as stopped:
        first = True
        while not stopped.is_set():
            try:
                at = None if first and period else lifecycle.republish_at()
                now = current_time()
                if at is None or at <= now:
                    published = lifecycle.publish_lists(now=now, period=period)
                    _say_lists(published)
                    _say_folders(published)
                    at = lifecycle.republish_at()
                first = False
                wait = (at - current_time()).total_seconds() if at else _AFTER_AN_ERROR
            except (PKIError, OSError) as error:
                # A database that restarts, a disk that is full: the next try may find it mended, and there is half a
                # life left for it. What is wrong from the start is said at the start.
                if first:
                    raise
                complain(PROGRAM, "error", str(error))
                wait = _AFTER_AN_ERROR
            stopped.wait(min(max(wait, 0.05), _LONGEST_WAIT))


def _say_lists(published: Published) -> None:
    for row, turn, count in published.turns:
        revoked = "1 certificate" if count == 1 else f"{count} certificates"
        say(f"published list {turn.number} of {row.name}: {revoked}, good until {turn.next_update:%Y-%m-%d %H:%M} UTC")


def _say_folders(published: Published) -> None:
    for folder, error in published.folders.failed:
        say_note(f"{folder} keeps its old list: {error}")
    published.folders.check()


def _described(row: CertificateRow) -> str:
    who = f"{row.profile} {row.names.name} ({row.names.described()})"
    return f"{who}, serial {row.serial}, {row.not_before:%Y-%m-%d} to {row.not_after:%Y-%m-%d}"
