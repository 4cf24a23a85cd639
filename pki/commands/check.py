"""`handclasp-pki verify` and `doctor`: whether a certificate would be accepted, and whether all is well here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki import diagnosis, judging
from pki.crl import parse_lists
from pki.errors import CorruptState, IdentityError, StateError, TrustError
from pki.facts import read_certificates
from pki.identity import Identity, Purpose
from pki.options import (
    DatabaseOption,
    JsonOption,
    PassphraseOption,
    Shared,
    StateOption,
    current_time,
    path_of,
)
from pki.presentation import say, say_json, show_table
from pki.trust import TrustBundle
from pki.verification import objections

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509


class _Purpose(StrEnum):
    CLIENT = "client"
    SERVER = "server"


def verify(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="PEM, DER, or a credential folder.")],
    purpose: Annotated[_Purpose, typer.Option("--purpose", help="What it is presented as.")] = _Purpose.CLIENT,
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="A trust bundle, in the place of the state's.")
    ] = None,
    crl: Annotated[
        str | None, typer.Option("--crl", metavar="FILE", help="Revocation lists, in the place of the inventory.")
    ] = None,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Would our server accept this certificate? Every reason why not; exit 1 where there is one.

    \b
    handclasp-pki verify state/credentials/alice
    handclasp-pki verify tls.crt --purpose server
    handclasp-pki verify tls.crt --ca ca.crt --crl ca.crl
    """
    chain = read_certificates(path_of(file, "FILE"))
    now, wanted = current_time(), Purpose.CLIENT if purpose is _Purpose.CLIENT else Purpose.SERVER
    lists = _lists(path_of(crl, "--crl")) if crl is not None else None
    if ca is not None:
        trust = TrustBundle.load(path_of(ca, "--ca"))
        found = objections(chain, trust, wanted, now, judging.by_lists(lists or (), now))
    else:
        with Shared.of(context, state, passphrase_file, database).lifecycle().reading() as here:
            by = judging.by_inventory(here, now) if lists is None else judging.by_lists(lists, now)
            found = objections(chain, here.trust(), wanted, now, by)
    _say_verdict(chain[0], wanted, found, now, as_json=as_json)
    if found:
        raise typer.Exit(1)


def doctor(
    context: typer.Context,
    as_json: JsonOption = False,
    state: StateOption = None,
    passphrase_file: PassphraseOption = None,
    database: DatabaseOption = None,
) -> None:
    """Look for what is wrong, or soon will be: dates, permissions, the inventory and the disk, lists, the clock.

    Exit 1 where there is anything.

    \b
    handclasp-pki doctor
    handclasp-pki doctor --json        for monitors
    """
    lifecycle = Shared.of(context, state, passphrase_file, database).lifecycle()
    try:
        with lifecycle.reading() as here:
            found = diagnosis.examine(here, current_time())
    except StateError as error:
        # A monitor reads JSON, all the more when nothing can be read.
        if not as_json:
            raise
        found = [diagnosis.Finding(str(lifecycle.state.folder), str(error), "see the message")]
    if as_json:
        say_json({"ok": not found, "findings": [finding._asdict() for finding in found]})
    elif found:
        show_table(("WHAT", "WHERE", "CURE"), [(finding.message, finding.subject, finding.cure) for finding in found])
    else:
        say("all is well")
    if found:
        raise typer.Exit(1)


def _say_verdict(leaf: x509.Certificate, purpose: Purpose, found: list[str], now: datetime, *, as_json: bool) -> None:
    try:
        identity = Identity.from_certificate(leaf).name
    except IdentityError:
        identity = None
    who = "a server of ours" if purpose is Purpose.CLIENT else "a client of ours"
    if as_json:
        say_json(
            {"accepted": not found, "identity": identity, "serial": format(leaf.serial_number, "x"), "reasons": found}
        )
    elif found:
        for reason in found:
            say(f"refused: {reason}")
    else:
        left = (leaf.not_valid_after_utc - now).days
        say(f"accepted: {who} would take it as {identity or 'what it names'}, {left} days more")


def _lists(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        return parse_lists(path.read_bytes())
    except OSError as error:
        raise TrustError(f"the revocation list {path} cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise CorruptState(f"the revocation list {path} cannot be used: {error}", path=path) from error
