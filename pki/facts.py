"""What a certificate says, for a person to read: whatever is in it, damaged and hostile parts included.

Nothing here decides: who may call is `pki.identity`'s to say, and its verdict is one of the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from pki.credential import locate
from pki.errors import IdentityError, NotFound, StateError
from pki.identity import Identity, Purpose
from pki.keys import describe_key
from pki.pem import parse_certificates
from pki.trust import is_authority

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

# A chain is a few kilobytes, a bundle of all public roots 300: more is no certificate, and /dev/zero has no end.
_LARGEST_FILE = 16 << 20
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


def _named(oids: type) -> dict[x509.ObjectIdentifier, str]:
    """Names for a class of object identifiers: `ECDSA_WITH_SHA256` becomes `ecdsa-with-sha256`."""
    return {
        oid: name.lower().replace("_", "-")
        for name, oid in vars(oids).items()
        if isinstance(oid, x509.ObjectIdentifier)
    }


_SIGNATURES = _named(SignatureAlgorithmOID)
_PURPOSES = _named(ExtendedKeyUsageOID) | {purpose.value: purpose.name.lower() for purpose in Purpose}


@dataclass(frozen=True, slots=True)
class Facts:
    """One certificate. Names are as they stand in it; `identity` is how a server reads them, None if it refuses."""

    subject: str
    issuer: str
    identity: str | None
    refusal: str | None
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    purposes: tuple[str, ...]
    authority: bool
    key: str
    signature: str
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Facts:
        """The facts of a certificate. Raises StateError where not even its dates and names can be parsed."""
        san = _alternative_names(certificate)
        try:
            identity, refusal = Identity.from_certificate(certificate).name, None
        except IdentityError as error:
            identity, refusal = None, str(error)
        try:
            return cls(
                subject=certificate.subject.rfc4514_string(),
                issuer=certificate.issuer.rfc4514_string(),
                identity=identity,
                refusal=refusal,
                emails=tuple(name.value for name in san if isinstance(name, x509.RFC822Name)),
                uris=tuple(name.value for name in san if isinstance(name, x509.UniformResourceIdentifier)),
                dns_names=tuple(name.value for name in san if isinstance(name, x509.DNSName)),
                ip_addresses=tuple(str(name.value) for name in san if isinstance(name, x509.IPAddress)),
                purposes=_purposes(certificate),
                authority=is_authority(certificate),
                key=_key(certificate),
                signature=_SIGNATURES.get(
                    certificate.signature_algorithm_oid, certificate.signature_algorithm_oid.dotted_string
                ),
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
                serial=format(certificate.serial_number, "x"),
                sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            )
        except ValueError as error:
            raise StateError(f"the certificate cannot be read: {error}") from error


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM or DER file, or of a credential folder, leaf first; at least one.

    Raises NotFound, CredentialError for a folder without one, StateError for anything else.
    """
    try:
        file = locate(path).certificate if path.is_dir() else path
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", path=path) from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", path=path) from error
    if len(data) > _LARGEST_FILE:
        raise StateError(f"{path} is too large to hold certificates", path=path)
    if b"-----BEGIN" not in data:
        try:
            return (x509.load_der_x509_certificate(data),)
        except (ValueError, x509.InvalidVersion) as error:
            raise StateError(f"{path} holds no certificate, neither in PEM nor in DER", path=path) from error
    try:
        return parse_certificates(data)
    except ValueError as error:
        raise StateError(f"{path} cannot be used: {error}", path=path) from error


def common_name(certificate: x509.Certificate) -> str | None:
    """The (first) common name of the subject, None where there is none to read."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return None
    return str(names[0].value) if names else None


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (*_UNREADABLE, x509.ExtensionNotFound):
        return ()


def _purposes(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (*_UNREADABLE, x509.ExtensionNotFound):
        return ()
    return tuple(_PURPOSES.get(oid, oid.dotted_string) for oid in usage)


def _key(certificate: x509.Certificate) -> str:
    try:
        return describe_key(certificate.public_key())
    except _UNREADABLE:
        return "unknown"
