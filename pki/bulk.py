"""Thousands of credentials at once: rows by the hundred, then their folders, then one sync for all of them.

For each batch the order is that of a single one: the rows are committed, then the files are written. What a run that
was killed left undone is recorded and not in its folder; the next run sees that and makes it anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pki.credential import Credential, files_of, is_occupied, locate
from pki.errors import AlreadyExists, CredentialError, PKIError
from pki.folders import NewFolders
from pki.inventory.rows import NameRow, fingerprint
from pki.keys import KeyType
from pki.pem import parse_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pki.inventory.rows import CertificateRow
    from pki.issuing import Issuing, Request, Signed
    from pki.open_state import OpenState

BATCH = 500
_SHOWN = 5
_KEY_END = b"-----END PRIVATE KEY-----\n"


@dataclass(frozen=True, slots=True)
class Line:
    """A request, and the number of the line that asks for it."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class Bulk:
    """How many were issued, and how many were there already; of these, so many are revoked, held or have ended."""

    issued: int
    kept: int
    lapsed: int
    clamped: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A name to be issued, and what is known of it from a run that was cut off."""

    name: NameRow
    known: NameRow | None


def issue_many(issuing: Issuing, lines: Sequence[Line], advance: Callable[[int], None]) -> Bulk:
    """Issue all of them; `advance` is told how many more are done.

    Names with the same identity whose credential is in its folder are kept. Before the first is issued all are
    looked at: AlreadyExists names the lines of names that have another identity, or whose folder is taken.
    """
    issuing.signer.authority.check_valid(issuing.now)
    wanted, lapsed = _plan(issuing, lines)
    kept = len(lines) - len(wanted)
    advance(kept)
    clamped = 0
    folders = NewFolders()
    trust_pem = issuing.trust.to_pem()
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        signed = [issuing.sign(one.name) for one in batch]
        _record(issuing.here, batch, signed)
        for one in signed:
            _write(issuing, folders, one, trust_pem)
        _sync(folders)
        clamped += sum(one.clamped for one in signed)
        advance(len(batch))
    return Bulk(len(wanted), kept, lapsed, clamped)


def _plan(issuing: Issuing, lines: Sequence[Line]) -> tuple[list[_Wanted], int]:
    """What is to be issued, and how many of the others have lapsed. Raises AlreadyExists with the lines' numbers."""
    here = issuing.here
    wanted: list[_Wanted] = []
    faults: list[str] = []
    lapsed = 0
    near = here.near()
    for start in range(0, len(lines), BATCH):
        some = lines[start : start + BATCH]
        with here.inventory.reading() as work:
            known = work.names.some([line.request.names.name for line in some])
            latest = {row.serial: row for row in work.certificates.some([name.serial for name in known.values()])}
        for line in some:
            name = _row(here, line.request)
            before = known.get(name.names.name)
            row = latest.get(before.serial) if before else None
            if before is not None and (before.names, before.profile) != (name.names, name.profile):
                faults.append(
                    f"line {line.number}: {name.names.name} has been issued as {before.profile} "
                    f"{before.names.described()}"
                )
            elif row is not None and row.issuer not in near:
                faults.append(f"line {line.number}: {name.names.name} is kept in another state folder")
            elif before is not None and row is not None and _is_done(here.state.path(before.folder), row):
                lapsed += row.state != "issued" or row.not_after < issuing.now
            elif before is None and _is_taken(here, name):
                faults.append(f"line {line.number}: {here.state.path(name.folder)} holds a credential already")
            else:
                wanted.append(_Wanted(name, before))
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise AlreadyExists("; ".join(faults[:_SHOWN]) + more)
    return wanted, lapsed


def _row(here: OpenState, request: Request) -> NameRow:
    profile, names = request.profile, request.profile.completed(request.names)
    days = profile.lifetime.days if request.days is None else request.days
    key = request.key or KeyType.P256
    return NameRow(profile.label, names, key, days, here.state.default_folder(names.name))


def _record(here: OpenState, batch: Sequence[_Wanted], signed: Sequence[Signed]) -> None:
    with here.inventory.transaction() as work:
        work.certificates.add(*(one.row for one in signed))
        pairs = list(zip(batch, signed, strict=True))
        work.names.add(*(one.name for plan, one in pairs if plan.known is None))
        work.names.replace(*(one.name for plan, one in pairs if plan.known is not None))


def _write(issuing: Issuing, folders: NewFolders, one: Signed, trust_pem: bytes) -> None:
    folder = f"{issuing.here.state.folder}/{one.name.folder}"
    try:
        folders.add(folder, files_of(one.key, one.chain, trust_pem, issuing.lists))
    except FileExistsError:
        Credential(one.key, one.chain).save(Path(folder), issuing.trust, issuing.lists)
    except OSError as error:
        message = f"the credential folder {folder} cannot be written: {error.strerror}"
        raise CredentialError(message, path=Path(folder)) from error


def _sync(folders: NewFolders) -> None:
    try:
        folders.sync()
    except OSError as error:
        raise CredentialError(f"the credentials cannot be written: {error.strerror}") from error


def _is_taken(here: OpenState, name: NameRow) -> bool:
    # The common case first: there is nothing.
    folder = f"{here.state.folder}/{name.folder}"
    return os.path.lexists(folder) and is_occupied(Path(folder))


def _is_done(folder: Path, row: CertificateRow) -> bool:
    """Whether there is nothing left to do: what was revoked does not come back, and what is written is there."""
    return row.state != "issued" or _is_written(folder, row)


def _is_written(folder: Path, row: CertificateRow) -> bool:
    """Whether the folder has this certificate, its key and a bundle. A machine that lost power may have torn them."""
    try:
        paths = locate(folder)
        leaf = parse_certificates(paths.certificate.read_bytes())[0]
        key, trust = paths.key.read_bytes(), paths.trust.read_bytes()
    except (OSError, ValueError, PKIError):
        return False
    return fingerprint(leaf) == row.sha256 and key.endswith(_KEY_END) and bool(trust)
