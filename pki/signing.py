"""A certificate for a key that is elsewhere: by a signing request, and never with a key in a file of ours.

Such a certificate is in the inventory like any other, and can be listed and revoked. It has no credential folder: what
is renewed by itself would have a key that its holder does not have, so its holder makes another request.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pki.authority import end_of, lifetime_of
from pki.credential import CERTIFICATE, TRUST
from pki.errors import AlreadyExists, CSRError, StateError
from pki.files import PUBLIC_FILE, new_folder, sync_folder, write_new
from pki.inventory.rows import CertificateRow
from pki.pem import to_pem
from pki.renewal import check_not_revoked

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from pki.csr import SigningRequest
    from pki.issuing import Issuing, Request
    from pki.names import Names
    from pki.open_state import OpenState


@dataclass(frozen=True, slots=True)
class Certified:
    """What became of a signing request. `clamped`: it ends earlier than asked for, with its authority."""

    profile: str
    names: Names
    days: int
    folder: Path
    certificate: x509.Certificate
    clamped: bool


def sign_request(issuing: Issuing, csr: SigningRequest, request: Request, *, again: bool) -> Certified:
    """Sign, record, write, in this order: `tls.crt` and `ca.crt`, into a new folder, or beside the key in one.

    Without `request.out` the folder is called by the name, in the current one. Raises AlreadyExists for a key that was
    used before, a name that has a credential here and a folder that has a certificate, CSRError for an authority's
    key, StateError for a name that is held, or revoked and not to have one `again`, and where it cannot be written.
    """
    profile, names = request.profile, request.profile.completed(request.names)
    days = profile.lifetime.days if request.days is None else request.days
    lifetime = lifetime_of(days)
    check_name(issuing.here, names.name, again=again, command=f"sign CSR {names.name}")
    if any(csr.key == authority.certificate.public_key() for authority in issuing.here.trusted()):
        raise CSRError("the request is for the key of an authority: that signs certificates and nothing else")
    leaf = issuing.signer.authority.issue(profile, names, csr.key, now=issuing.now, lifetime=lifetime)
    row = CertificateRow.of(
        leaf,
        names,
        profile.label,
        issuer=issuing.signer.row.sha256,
        issued_at=issuing.now,
        requested_by=issuing.requested_by,
    )

    def commit() -> None:
        with issuing.here.inventory.transaction() as work:
            work.certificates.add(row)

    folder = request.out or Path(names.name)
    _write(folder, to_pem((leaf, *issuing.signer.chain)), issuing.trust.to_pem(), commit)
    clamped = row.not_after < end_of(issuing.now, lifetime)
    return Certified(profile.label, names, days, folder, leaf, clamped)


def check_name(here: OpenState, name: str, *, again: bool, command: str) -> None:
    """Raise StateError where a name may not be given to a key that is elsewhere; `command` would do so `--again`."""
    if here.name(name) is not None:
        raise AlreadyExists(f"{name} has been issued with a key that was made here: choose another NAME")
    latest = here.latest(name)
    if not (again and latest is not None and latest.state == "revoked"):
        check_not_revoked(latest, name, command)


def _write(folder: Path, chain: bytes, trust: bytes, commit: Callable[[], None]) -> None:
    """Write the two files, the certificate once it is recorded; all that can go wrong goes wrong before."""
    try:
        if os.path.lexists(folder):
            _fill(folder, chain, trust, commit)
        else:
            with new_folder(folder) as beside:
                _fill(beside, chain, trust, commit)
    except FileExistsError as error:
        message = f"{error.filename or folder} is there already: remove it, or pass another --out"
        raise AlreadyExists(message, path=folder) from error
    except OSError as error:
        raise StateError(f"{folder} cannot be written: {error.strerror}", path=folder) from error


def _fill(folder: Path, chain: bytes, trust: bytes, commit: Callable[[], None]) -> None:
    certificate, anchors = folder / CERTIFICATE, folder / TRUST
    if os.path.lexists(certificate):
        raise FileExistsError(0, "", str(certificate))
    write_new(anchors, trust, PUBLIC_FILE)
    try:
        commit()
        write_new(certificate, chain, PUBLIC_FILE)
    except BaseException:
        anchors.unlink(missing_ok=True)
        raise
    sync_folder(folder)
