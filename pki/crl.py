"""Certificate revocation lists (RFC 5280 section 5): read, verified, and asked. `pki.crl_signing` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import TrustError
from pki.trust import subject_of

if TYPE_CHECKING:
    from datetime import datetime

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature was verified: `serial in revocation_list` takes the same time however long it is."""

    issuer: str
    """RFC 4514 text, for messages."""
    number: int
    this_update: datetime
    next_update: datetime
    serials: frozenset[int]

    def __contains__(self, serial: object) -> bool:
        return serial in self.serials

    def __len__(self) -> int:
        return len(self.serials)

    @classmethod
    def verified(cls, crl: x509.CertificateRevocationList, authority: x509.Certificate) -> RevocationList:
        """The list, if this authority signed it. Raises TrustError where it did not, or it cannot be used.

        A list with a critical extension that is not understood may be for some certificates or reasons only (RFC 5280
        section 5.2.5), and one without a `nextUpdate` never becomes stale: both are refused.
        """
        name = subject_of(authority)
        if not is_signed_by(crl, authority):
            raise TrustError(f"the revocation list is not signed by {name}")
        try:
            critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            serials = frozenset(entry.serial_number for entry in crl)
        except x509.ExtensionNotFound as error:
            raise TrustError(f"the revocation list of {name} has no number (RFC 5280 5.2.3)") from error
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise TrustError(f"the revocation list of {name} cannot be read: {error}") from error
        if critical:
            raise TrustError(f"the revocation list of {name} has critical extensions: {', '.join(critical)}")
        if crl.next_update_utc is None:
            raise TrustError(f"the revocation list of {name} does not say when the next one comes")
        return cls(name, number, crl.last_update_utc, crl.next_update_utc, serials)


def parse_lists(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Every list of a PEM file, or the one of a DER file; not verified yet. Raises ValueError."""
    if _BEGIN not in data:
        if not data.startswith(b"\x30"):
            raise ValueError("it holds no revocation list: neither PEM (BEGIN X509 CRL) nor DER")
        return (x509.load_der_x509_crl(data),)
    if data.count(_BEGIN) != data.count(_END):
        raise ValueError("a revocation list in it is cut short")
    blocks = (block.partition(_END)[0] for block in data.split(_BEGIN)[1:])
    return tuple(x509.load_pem_x509_crl(_BEGIN + block + _END + b"\n") for block in blocks)


def is_signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Whether this authority's key signed the list, under its name, and may sign lists."""
    try:
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            return False
    except x509.ExtensionNotFound:
        pass
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    try:
        return crl.issuer == authority.subject and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def key_id(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's public key: who signs, whatever certificate the key is in."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()
