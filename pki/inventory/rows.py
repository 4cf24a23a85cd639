"""What the inventory remembers, as values. Hexadecimal is lower-case, dates are aware, in UTC and in whole seconds."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.crl_signing import Reason
from pki.keys import describe_key
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from datetime import datetime

    from pki.keys import KeyType
    from pki.names import Names
    from pki.pem import PublicKey

TRUSTED = tuple(state for state in AuthorityState if state.trusted)

CertificateState = Literal["issued", "revoked", "held"]

HOLD = Reason.CERTIFICATE_HOLD
REASONS = tuple(Reason)


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """An authority: the certificate that signs, and the trust anchor that stands above it, often the same."""

    sha256: str
    name: str
    state: AuthorityState
    activated_at: datetime | None
    certificate: x509.Certificate
    anchor: x509.Certificate
    folder: str
    crl_number: int = 0
    crl_this_update: datetime | None = None
    crl_next_update: datetime | None = None

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        *,
        folder: str,
        state: AuthorityState,
        activated_at: datetime | None = None,
        anchor: x509.Certificate | None = None,
    ) -> AuthorityRow:
        """The row of an authority in this folder of the state folder; without an `anchor` it is its own."""
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return cls(
            sha256=fingerprint(certificate),
            name=str(names[0].value) if names else certificate.subject.rfc4514_string(),
            state=state,
            activated_at=activated_at,
            certificate=certificate,
            anchor=anchor or certificate,
            folder=folder,
        )

    @property
    def not_before(self) -> datetime:
        """When its certificate begins."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """When its certificate ends."""
        return self.certificate.not_valid_after_utc


@dataclass(frozen=True, slots=True)
class NameRow:
    """A name, and all that making its credential again takes. `serial` is that of its latest certificate.

    `folder` is relative to the state folder, or absolute where `--out` chose it.
    """

    profile: str
    names: Names
    key: KeyType
    days: int
    folder: str
    serial: str = ""


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate that may be out there. `issuer` is the SHA-256 of the authority's certificate.

    `state` is what was decided, not what the clock says: an expired one is still "issued".
    """

    serial: str
    names: Names
    profile: str
    key: str
    sha256: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    issuer: str
    issued_at: datetime
    requested_by: str
    state: CertificateState = "issued"
    reason: str | None = None
    revoked_at: datetime | None = None
    shown_expired: bool = False

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        names: Names,
        profile: str,
        *,
        issuer: str,
        issued_at: datetime,
        requested_by: str,
        public_key: PublicKey | None = None,
    ) -> CertificateRow:
        """The row of a certificate that was just signed. Who has its `public_key` at hand saves parsing it again."""
        key = public_key or certificate.public_key()
        return cls(
            serial=serial_of(certificate),
            names=names,
            profile=profile,
            key=describe_key(key),
            sha256=fingerprint(certificate),
            spki_sha256=spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            issuer=issuer,
            issued_at=issued_at,
            requested_by=requested_by,
        )


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A one-time token: the SHA-256 of what its holder was given, and what they get for it, once."""

    sha256: str
    names: Names
    profile: str
    days: int
    issued_at: datetime
    expires_at: datetime
    requested_by: str
    used_at: datetime | None = None


class RevokedRow(NamedTuple):
    """One entry of a CRL: light, as there may be a million."""

    serial: str
    revoked_at: int
    reason: str


class CRLTurn(NamedTuple):
    """What the next CRL of an authority says of itself: a number and dates that nobody else has been given."""

    number: int
    this_update: datetime
    next_update: datetime


class Counts(NamedTuple):
    """How much there is."""

    authorities: int
    names: int
    certificates: int
    revoked: int
    held: int


def serial_of(certificate: x509.Certificate) -> str:
    """The serial number as the inventory writes it: lower-case hexadecimal without padding."""
    return format(certificate.serial_number, "x")


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of the certificate as the inventory writes it."""
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def spki_sha256(der: bytes) -> str:
    """The SHA-256 of a public key (SubjectPublicKeyInfo, DER): what tells whether a key was used before."""
    return sha256(der).hexdigest()
