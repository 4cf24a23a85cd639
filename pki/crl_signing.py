"""Certificate revocation lists as an authority signs them (RFC 5280 section 5). No clock, no files, no database.

An authority may have revoked a million certificates. cryptography's builder copies its whole list for each entry that
is added, so the entries are encoded here, forty bytes each, and put into an empty list of cryptography's making: names,
identifiers, dates and the signature's algorithm are all its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID

from pki import der
from pki.keys import sign, signature_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pki.authority import CertificateAuthority


class Reason(StrEnum):
    """Why a certificate is revoked (RFC 5280 section 5.3.1), by the words of `--reason`."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


_CODES = {
    Reason.KEY_COMPROMISE: 1,
    Reason.CA_COMPROMISE: 2,
    Reason.AFFILIATION_CHANGED: 3,
    Reason.SUPERSEDED: 4,
    Reason.CESSATION_OF_OPERATION: 5,
    Reason.CERTIFICATE_HOLD: 6,
    Reason.PRIVILEGE_WITHDRAWN: 9,
    Reason.AA_COMPROMISE: 10,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One revoked certificate."""

    serial: int
    revoked_at: datetime
    reason: Reason = Reason.UNSPECIFIED


def sign_list(
    authority: CertificateAuthority,
    entries: Iterable[Entry],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """A signed list, DER. Dates are in whole seconds; `unspecified` is said by leaving the reason out (5.3.1)."""
    empty = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(this_update.astimezone(UTC).replace(microsecond=0))
        .next_update(next_update.astimezone(UTC).replace(microsecond=0))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(authority.authority_key_identifier, critical=False)
        .sign(authority.key, signature_hash(authority.key))
    )
    encoded = b"".join(map(_encoded, entries))
    if not encoded:
        return empty.public_bytes(Encoding.DER)
    # TBSCertList: version, signature, issuer, thisUpdate, nextUpdate, [revokedCertificates], [0] crlExtensions.
    fields = der.children(empty.tbs_certlist_bytes)
    tbs = der.sequence(*fields[:5], der.sequence(encoded), *fields[5:])
    algorithm = der.children(empty.public_bytes(Encoding.DER))[1]
    return der.sequence(tbs, algorithm, der.bit_string(sign(authority.key, tbs)))


def to_pem(list_der: bytes) -> bytes:
    """A list as PEM."""
    return x509.load_der_x509_crl(list_der).public_bytes(Encoding.PEM)


def _reason_extension(code: int) -> bytes:
    # CRLReason ::= ENUMERATED, in an OCTET STRING, in the entry's extensions.
    value = der.octet_string(bytes([0x0A, 1, code]))
    return der.sequence(der.sequence(der.oid(CRLEntryExtensionOID.CRL_REASON.dotted_string), value))


_REASONS = {reason: _reason_extension(code) for reason, code in _CODES.items()} | {Reason.UNSPECIFIED: b""}


def _encoded(entry: Entry) -> bytes:
    return der.sequence(der.integer(entry.serial), der.time(entry.revoked_at), _REASONS[entry.reason])
