"""Revoking certificates, and publishing that: the lists of every authority that is still trusted.

Nothing is decided that could not be published for want of a key (`signers`). Then it is recorded, and stays so whatever
becomes of the publishing: it can be repeated. A list is never older than the one before, nor does it say less: its
number and its date are taken from the inventory, in the very transaction that reads its entries.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pki.authority_files import load_authority
from pki.crl_signing import Entry, Reason, sign_list, to_pem
from pki.distribution import Distribution, distribute
from pki.errors import NotFound, StateError, UsageError
from pki.facts import read_certificates
from pki.inventory.rows import fingerprint, serial_of
from pki.pem import to_pem as to_certificate_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pki.authority import CertificateAuthority
    from pki.inventory.rows import AuthorityRow, CertificateRow, CRLTurn
    from pki.open_state import OpenState

PERIOD = timedelta(hours=24)
"""How long a list is good for where nobody has said otherwise."""


@dataclass(frozen=True, slots=True)
class Published:
    """The lists that are in force now, and the folders that were given them."""

    turns: tuple[tuple[AuthorityRow, CRLTurn, int], ...]
    """Of each authority: its list's number and dates, and how many it revokes."""
    folders: Distribution


def of_serial(here: OpenState, text: str) -> CertificateRow:
    """The certificate of this serial number, hexadecimal, with or without colons. Raises UsageError, NotFound."""
    digits = text.replace(":", "").strip().lower().removeprefix("0x")
    try:
        serial = format(int(digits, 16), "x") if digits.isascii() else ""
    except ValueError:
        serial = ""
    if not serial or serial.startswith("-"):
        raise UsageError(f"{text!a} is no serial number: it is hexadecimal, as `handclasp-pki list --json` shows it")
    with here.inventory.reading() as work:
        row = work.certificates.get(serial)
    if row is None:
        raise NotFound(f"no certificate with the serial number {serial} was issued here")
    return row


def of_file(here: OpenState, path: Path) -> CertificateRow:
    """The certificate in a file or a credential folder, if it is one of ours. Raises CredentialError, NotFound."""
    leaf = read_certificates(path)[0]
    with here.inventory.reading() as work:
        row = work.certificates.by_sha256(fingerprint(leaf))
        known = work.certificates.get(serial_of(leaf)) if row is None else None
    if row is not None:
        return row
    if known is not None:
        raise NotFound(f"{path} bears the serial number of {known.names.name}'s certificate, and is another one")
    raise NotFound(f"the certificate in {path} (serial {serial_of(leaf)}) was not issued here")


def of_name(here: OpenState, name: str, now: datetime) -> list[CertificateRow]:
    """The certificates of a name that are neither revoked nor ended, newest first. Raises NotFound."""
    with here.inventory.reading() as work:
        rows = work.certificates.of_name(name, live_at=now)
    if not rows:
        here.names([name])  # says which names there are
        raise NotFound(f"{name} has no certificate that could be revoked: all are revoked or have ended")
    return rows


def revoke(
    here: OpenState, rows: Sequence[CertificateRow], reason: Reason, now: datetime, name: str | None = None
) -> list[CertificateRow]:
    """Record that these are revoked, or held (certificateHold); which of them were not before.

    With a `name`, also what it was given since `rows` were looked up: whoever has the key may renew while we ask.
    """
    with here.inventory.transaction() as work:
        if name is not None:
            work.names.claim(name)
            known = {row.serial for row in rows}
            rows = [*rows, *(row for row in work.certificates.of_name(name, live_at=now) if row.serial not in known)]
        changed = [
            row
            for row in rows
            if (
                work.revocations.hold(row.serial, now)
                if reason is Reason.CERTIFICATE_HOLD
                else work.revocations.set_revoked(row.serial, reason, now)
            )
        ]
    if not changed:
        raise StateError(
            "nothing to revoke: " + ", ".join(f"{row.names.name} ({row.serial}) is revoked already" for row in rows)
        )
    return changed


def unhold(here: OpenState, rows: Sequence[CertificateRow]) -> list[CertificateRow]:
    """End the hold of these; which of them were held. Raises StateError where none was."""
    with here.inventory.transaction() as work:
        changed = [row for row in rows if work.revocations.unhold(row.serial)]
    if not changed:
        raise StateError(
            "nothing to release: " + ", ".join(f"{row.names.name} ({row.serial}) is not on hold" for row in rows)
        )
    return changed


def publish(
    here: OpenState, now: datetime, period: timedelta | None = None, advance: Callable[[int], None] = lambda _: None
) -> Published:
    """Sign a new list of each trusted authority that is here, and put them into the state and every folder.

    Without a `period` a list is good for as long as the one before was. Raises what `signers` does, and nothing is
    published then.
    """
    signing = signers(here, now)
    turns, lists = [], []
    for row, authority in signing:
        with here.inventory.transaction() as work:
            turn = work.revocations.next_crl(row.sha256, now=now, period=period or _period(row))
            entries = [
                Entry(int(revoked.serial, 16), datetime.fromtimestamp(revoked.revoked_at, UTC), Reason(revoked.reason))
                for revoked in work.revocations.entries(row.sha256)
            ]
        lists.append(
            sign_list(
                authority, entries, number=turn.number, this_update=turn.this_update, next_update=turn.next_update
            )
        )
        turns.append((row, turn, len(entries)))
    # The second list of a second is dated a second ahead: nobody gets to see it before its time.
    time.sleep(max(0.0, *((turn.this_update - now).total_seconds() for _, turn, _ in turns)))
    # The list of an authority below a root comes with its certificate: who trusts the root alone does not know it.
    below = [to_certificate_pem((row.certificate,)) if row.anchor != row.certificate else b"" for row, _ in signing]
    here.state.save_lists(b"".join(signer + to_pem(der) for signer, der in zip(below, lists, strict=True)))
    folders = distribute(here, advance)
    with here.inventory.transaction() as work:
        for row, turn, _ in turns:
            work.revocations.set_shown(row.sha256, turn.this_update)
    return Published(tuple(turns), folders)


def signers(
    here: OpenState, now: datetime, *, but: AuthorityRow | None = None
) -> list[tuple[AuthorityRow, CertificateAuthority]]:
    """The trusted authorities that are here, `but` one, with their keys at hand.

    Raises PassphraseError and what else keeps one of them from signing its list, such as a clock that is behind.
    """
    rows = [row for row in _here(here) if but is None or row.sha256 != but.sha256]
    found = [(row, load_authority(here.state.path(row.folder), here.passphrase)) for row in rows]
    for _, authority in found:
        authority.check_begun(now)
    return found


def republish_at(here: OpenState) -> datetime | None:
    """Half-way to the first of the lists' ends; None where an authority has none yet."""
    halves = []
    for row in _here(here):
        if row.crl_this_update is None or row.crl_next_update is None:
            return None
        halves.append(row.crl_this_update + (row.crl_next_update - row.crl_this_update) / 2)
    return min(halves, default=None)


def _here(here: OpenState) -> list[AuthorityRow]:
    return [row for row in here.trusted() if here.is_here(row)]


def _period(row: AuthorityRow) -> timedelta:
    if row.crl_this_update is None or row.crl_next_update is None:
        return PERIOD
    return row.crl_next_update - row.crl_this_update
