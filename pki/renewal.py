"""Which certificates are renewed, and when.

A certificate falls due a little before two thirds of its life: up to a twentieth of its life earlier, by a part that
its serial number decides. It is the same each time one looks, and different for each certificate, so thousands that
were issued in one minute do not all fall due in one minute. Behind two thirds, every one is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.credential import Credential
from pki.errors import PKIError, StateError
from pki.inventory.rows import serial_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from pki.inventory.rows import CertificateRow, NameRow
    from pki.issuing import Issuing, Outcome
    from pki.open_state import OpenState
    from pki.pem import PrivateKey

LATEST, SPREAD = 2 / 3, 1 / 20
# What the inventory is asked for, in tenths: none of them is due before.
EARLIEST_TENTHS = 6
_RANDOM_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Refused:
    """A name that was not renewed, and why."""

    name: str
    error: PKIError


@dataclass(frozen=True, slots=True)
class Renewals:
    """What became of all that were due."""

    done: tuple[Outcome, ...]
    refused: tuple[Refused, ...]


def due_at(row: CertificateRow) -> datetime:
    """From when on it is renewed. The serial number has 159 random bits; its last ones decide."""
    part = int(row.serial[-_RANDOM_DIGITS:], 16) / float(16**_RANDOM_DIGITS)
    life: timedelta = row.not_after - row.not_before
    return row.not_before + life * (LATEST - SPREAD * part)


def check_renewable(row: CertificateRow | None, name: str, now: datetime) -> CertificateRow:
    """The latest certificate of a name, if it may be renewed. Raises StateError, which says what to do instead."""
    check_not_revoked(row, name)
    if row is None or now > row.not_after:
        ended = f"ended on {row.not_after:%Y-%m-%d}" if row else "no certificate any more"
        raise StateError(f"{name} has {ended}: issue it anew with `handclasp-pki rotate {name}`")
    return row


def check_not_revoked(row: CertificateRow | None, name: str, command: str | None = None) -> None:
    """Raise StateError where a name's latest certificate is revoked or held; `command` would issue it all the same.

    Who was revoked does not come back by a timer, nor by being one of `--all`: only by somebody who says so.
    """
    if row is not None and row.state == "held":
        raise StateError(
            f"{name} is on hold (serial {row.serial}): end that with `handclasp-pki unhold --name {name}` first"
        )
    if row is not None and row.state == "revoked":
        raise StateError(
            f"{name} was revoked ({row.reason}, serial {row.serial}): if it shall have a certificate again, say so "
            f"with `handclasp-pki {command or f'issue {row.profile} {name}'} --again` and its names"
        )


def rotate(
    issuing: Issuing,
    names: Sequence[str] | None,
    on_each: Callable[[Outcome], None],
    note: Callable[[str], None],
) -> list[Outcome]:
    """Make these names' credentials anew, or all: None. See `pki.lifecycle.Lifecycle.rotate`."""
    issuing.signer.authority.check_valid(issuing.now)
    wanted = []
    for name, row in issuing.here.names(names):
        try:
            check_not_revoked(row, name.names.name)
        except StateError as error:
            if names is not None:
                raise
            note(f"left as it is: {error}")
            continue
        issuing.here.check_near(row)
        issuing.here.check_holder(name)
        wanted.append(name)
    outcomes = []
    for name in wanted:
        outcomes.append(issuing.put("rotated", name, name))
        on_each(outcomes[-1])
    return outcomes


def renew(
    issuing: Issuing, names: Sequence[str], on_each: Callable[[Outcome], None], *, same_key: bool
) -> list[Outcome]:
    """Give these names new dates. See `pki.lifecycle.Lifecycle.renew`."""
    issuing.signer.authority.check_valid(issuing.now)
    wanted = []
    for name, row in issuing.here.names(names):
        latest = check_renewable(row, name.names.name, issuing.now)
        issuing.here.check_near(row)
        issuing.here.check_holder(name)
        wanted.append((name, _key_of(issuing.here, name, latest) if same_key else None))
    outcomes = []
    for name, key in wanted:
        outcomes.append(issuing.put("renewed", name, name, key=key))
        on_each(outcomes[-1])
    return outcomes


def renew_due(
    issuing: Issuing,
    on_each: Callable[[Outcome | Refused], None],
    note: Callable[[str], None],
    stop: Callable[[], bool],
    *,
    same_key: bool,
) -> Renewals:
    """Renew all that are due. See `pki.lifecycle.Lifecycle.renew_due`."""
    issuing.signer.authority.check_valid(issuing.now)
    done: list[Outcome] = []
    refused: list[Refused] = []
    for name, row in due(issuing.here, issuing.now):
        if stop():
            break
        if row.not_after >= issuing.signer.row.not_after:
            note(f"{name.names.name} ends on {row.not_after:%Y-%m-%d} with its authority: not renewed")
            continue
        try:
            issuing.here.check_holder(name)
            key = _key_of(issuing.here, name, row) if same_key else None
            done.append(issuing.put("renewed", name, name, key=key))
            on_each(done[-1])
        except PKIError as error:
            refused.append(Refused(name.names.name, error))
            on_each(refused[-1])
    return Renewals(tuple(done), tuple(refused))


def due(here: OpenState, now: datetime) -> list[tuple[NameRow, CertificateRow]]:
    """The names that are due, each with its latest certificate, sorted."""
    near = here.near()
    with here.inventory.reading() as work:
        old = work.certificates.old(now, tenths=EARLIEST_TENTHS)
        found = [(name, row) for name, row in old if row.issuer in near and due_at(row) <= now]
    return sorted(found, key=lambda pair: pair[0].names.name)


def _key_of(here: OpenState, name: NameRow, row: CertificateRow) -> PrivateKey:
    """The key in a name's folder, if it is that of its latest certificate. Raises CredentialError, StateError."""
    folder = here.state.path(name.folder)
    credential = Credential.load(folder)
    if serial_of(credential.leaf) != row.serial:
        raise StateError(
            f"{folder} does not hold the latest certificate of {name.names.name}: renew it without --same-key"
        )
    return credential.key
