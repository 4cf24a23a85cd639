"""How the names in a state folder stand: one Entry each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pki.authority import was_issued_by
from pki.credential import is_occupied
from pki.errors import PKIError
from pki.facts import read_certificates
from pki.records import Issued

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from pki.records import Record

# valid: in use. expired, future: by its dates. orphaned: of an authority that is not the present one.
# missing: its folder or certificate is gone. damaged: there, and no certificate. The last four: rotate it.
Standing = Literal["valid", "expired", "future", "orphaned", "missing", "damaged"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, its record, and the certificate that is in its folder: the record's latest where there is none."""

    record: Record
    folder: Path
    standing: Standing
    certificate: Issued

    @classmethod
    def of(cls, record: Record, folder: Path, authority: x509.Certificate, now: datetime) -> Entry:
        """How this name stands under this authority."""
        try:
            leaf = read_certificates(folder)[0]
        except PKIError:
            state: Standing = "damaged" if is_occupied(folder) else "missing"
            return cls(record, folder, state, record.certificates[-1])
        return cls(record, folder, standing(leaf, authority, now), Issued.of(leaf))


def standing(certificate: x509.Certificate, authority: x509.Certificate, now: datetime) -> Standing:
    """How a certificate that can be read stands."""
    if not was_issued_by(certificate, authority):
        return "orphaned"
    if now < certificate.not_valid_before_utc:
        return "future"
    return "valid" if now <= certificate.not_valid_after_utc else "expired"
