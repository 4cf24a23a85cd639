"""Records of a Handclasp that had no inventory, into the inventory: `DIR/issued/*.json`.

They say less than a row does. What is missing is read from the certificate in the name's folder where it is the one;
of the others the public key stays unknown, and so does the issuer where it cannot be the present authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.authority import BACKDATING
from pki.errors import CorruptState, PKIError
from pki.facts import read_certificates
from pki.inventory.rows import CertificateRow, NameRow, fingerprint
from pki.records import Record
from pki.trust import was_issued_by

if TYPE_CHECKING:
    from cryptography import x509

    from pki.inventory.rows import AuthorityRow
    from pki.inventory.store import Transaction
    from pki.open_state import OpenState
    from pki.records import Issued
    from pki.state import State

FOLDER, ASIDE = "issued", "issued.imported"


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken over."""

    names: int
    certificates: int

    def put_aside(self, state: State) -> None:
        """Move the records away, so that nobody reads them again; none is deleted."""
        with state.translated("written"):
            aside, number = state.folder / ASIDE, 1
            while aside.exists():
                number += 1
                aside = state.folder / f"{ASIDE}.{number}"
            try:
                (state.folder / FOLDER).rename(aside)
            except FileNotFoundError:
                return


def read_records(state: State) -> list[Record]:
    """All of them, by name. Raises CorruptState, which names the one that is damaged."""
    folder = state.folder / FOLDER
    with state.translated("read"):
        try:
            # A hidden one is what a writer was about to put in place.
            files = sorted(file for file in folder.iterdir() if file.suffix == ".json" and file.name[0] != ".")
        except FileNotFoundError:
            return []
        contents = [(file, file.read_bytes()) for file in files]
    records = []
    for file, data in contents:
        try:
            record = Record.parse(data)
        except CorruptState as error:
            cure = f"mend it, or move it away and issue {file.stem} again"
            raise CorruptState(f"{file}: {error}; {cure}", path=file) from error
        if record.names.name != file.stem:
            raise CorruptState(
                f"{file} is the record of {record.names.name}, not of {file.stem}: give it its name back", path=file
            )
        records.append(record)
    return records


def import_records(here: OpenState, work: Transaction, records: list[Record]) -> Imported:
    """Add what the inventory does not have; the rest is there from a run that was cut off."""
    authorities = [row for row in work.authorities.all() if here.is_here(row)]
    names = certificates = 0
    for record in records:
        leaf = _leaf(here, record)
        rows = [_row(record, issued, leaf, authorities) for issued in record.certificates]
        rows = [row for row in rows if work.certificates.get(row.serial) is None]
        work.certificates.add(*rows, same_key=True)
        certificates += len(rows)
        if work.names.get(record.names.name) is None:
            serial = record.certificates[-1].serial
            name = NameRow(record.profile, record.names, record.key, record.days, record.folder, serial)
            work.names.add(name)
            names += 1
    return Imported(names, certificates)


def _leaf(here: OpenState, record: Record) -> x509.Certificate | None:
    try:
        return read_certificates(here.state.path(record.folder))[0]
    except PKIError:
        return None


def _row(
    record: Record, issued: Issued, leaf: x509.Certificate | None, authorities: list[AuthorityRow]
) -> CertificateRow:
    issued_at = issued.not_before + BACKDATING
    if leaf is not None and fingerprint(leaf) == issued.sha256:
        issuer = next((row.sha256 for row in authorities if was_issued_by(leaf, row.certificate)), "")
        return CertificateRow.of(
            leaf, record.names, record.profile, issuer=issuer, issued_at=issued_at, requested_by=""
        )
    # An authority signs nothing before its own beginning.
    issuer = next((row.sha256 for row in authorities if row.not_before <= issued.not_before), "")
    return CertificateRow(
        serial=issued.serial,
        names=record.names,
        profile=record.profile,
        key=str(record.key),
        sha256=issued.sha256,
        spki_sha256="",
        not_before=issued.not_before,
        not_after=issued.not_after,
        issuer=issuer,
        issued_at=issued_at,
        requested_by="",
    )
