"""How the certificates of an inventory stand: one Entry each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from pki.credential import is_occupied
from pki.errors import PKIError
from pki.facts import read_certificates
from pki.inventory.rows import TRUSTED, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from pki.inventory.rows import CertificateRow, NameRow
    from pki.open_state import OpenState

# revoked, held: as was decided. expired, future: by its dates. orphaned: of an authority that is not trusted any more.
# missing, damaged: it should be in its folder, and there is nothing, or something else: rotate it. valid: in use.
Standing = Literal["valid", "revoked", "held", "expired", "future", "orphaned", "missing", "damaged"]
STANDINGS: tuple[Standing, ...] = (
    "valid", "revoked", "held", "expired", "future", "orphaned", "missing", "damaged",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate and how it stands. `current`: the one in its name's folder, or that should be there.

    `record` and `folder` are its name's; None of a certificate that has no folder of its own.
    """

    certificate: CertificateRow
    standing: Standing
    current: bool
    record: NameRow | None
    folder: Path | None


def entries_of(here: OpenState, *, now: datetime, name: str | None = None) -> Iterator[Entry]:
    """Every certificate in the inventory, or those of a name, by name, newest first.

    Folders are looked into where the authority that signed is in this state folder: others are another host's.
    """
    with here.inventory.reading() as work:
        authorities = work.authorities.all()
        records = {row.names.name: row for row in work.names.all() if name in (None, row.names.name)}
        rows = work.certificates.of_name(name) if name is not None else list(work.certificates.all())
    trusted = {row.sha256 for row in authorities if row.state in TRUSTED}
    near = {row.sha256 for row in authorities if here.is_here(row)} | {""}
    rows.sort(key=lambda row: _newest_first(row, records.get(row.names.name)))
    for one, group in groupby(rows, key=lambda row: row.names.name):
        record, certificates = records.get(one), list(group)
        folder = here.state.path(record.folder) if record else None
        current, trouble = _current(certificates, record, folder, near)
        for row in certificates:
            standing = standing_of(row, trusted, now)
            if standing == "valid" and row is current and trouble:
                standing = trouble
            yield Entry(row, standing, row is current, record, folder)


def standing_of(row: CertificateRow, trusted: Iterable[str], now: datetime) -> Standing:
    """How a certificate stands, wherever it is; `trusted` are the authorities that are not retired."""
    if row.state != "issued":
        return row.state
    if now > row.not_after:
        return "expired"
    if now < row.not_before:
        return "future"
    return "valid" if row.issuer in trusted else "orphaned"


def _current(
    certificates: list[CertificateRow], record: NameRow | None, folder: Path | None, near: set[str]
) -> tuple[CertificateRow | None, Standing | None]:
    """The one in the folder, or else the latest and what is the matter with the folder."""
    latest = next((row for row in certificates if record and row.serial == record.serial), None)
    if folder is None or latest is None or latest.issuer not in near:
        return latest, None
    try:
        there = fingerprint(read_certificates(folder)[0])
    except PKIError:
        return latest, "damaged" if is_occupied(folder) else "missing"
    found = next((row for row in certificates if row.sha256 == there), None)
    return (found, None) if found else (latest, "damaged")


def _newest_first(row: CertificateRow, record: NameRow | None) -> tuple[str, float, bool, float, str]:
    latest = record is not None and row.serial == record.serial
    return row.names.name, -row.issued_at.timestamp(), not latest, -row.not_before.timestamp(), row.serial
