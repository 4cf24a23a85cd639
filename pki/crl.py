"""Certificate revocation lists (RFC 5280 section 5): read, verified, and asked. `pki.crl_signing` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import TrustError
from pki.pem import parse_certificates
from pki.serials import SerialSet
from pki.trust import subject_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature is verified: `serial in revocation_list` takes about the same time however long it is."""

    issuer: str
    """RFC 4514 text, for messages."""
    signer: bytes
    """The `key_id` of who signed it."""
    number: int
    this_update: datetime
    next_update: datetime
    serials: SerialSet

    def __contains__(self, serial: object) -> bool:
        return serial in self.serials

    def __len__(self) -> int:
        return len(self.serials)

    @classmethod
    def of(cls, crl: x509.CertificateRevocationList, authority: x509.Certificate) -> RevocationList:
        """The list that this authority is known to have signed. Raises TrustError where it cannot be used.

        A list with a critical extension that is not understood may be for some certificates or reasons only (RFC 5280
        section 5.2.5), and one without a `nextUpdate` never becomes stale: both are refused.
        """
        name = subject_of(authority)
        try:
            critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            serials = SerialSet.of(entry.serial_number for entry in crl)
        except x509.ExtensionNotFound as error:
            raise TrustError(f"the revocation list of {name} has no number (RFC 5280 5.2.3)") from error
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise TrustError(f"the revocation list of {name} cannot be read: {error}") from error
        if critical:
            raise TrustError(f"the revocation list of {name} has critical extensions: {', '.join(critical)}")
        if crl.next_update_utc is None:
            raise TrustError(f"the revocation list of {name} does not say when the next one comes")
        return cls(name, key_id(authority), number, crl.last_update_utc, crl.next_update_utc, serials)


def parse_lists(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Every list of a PEM file, or the one of a DER file; not verified yet. Raises ValueError."""
    if _BEGIN not in data:
        if not data.startswith(b"\x30"):
            raise ValueError("it holds no revocation list: neither PEM (BEGIN X509 CRL) nor DER")
        return (x509.load_der_x509_crl(data),)
    check_whole(data)
    blocks = (block.partition(_END)[0] for block in data.split(_BEGIN)[1:])
    return tuple(x509.load_pem_x509_crl(_BEGIN + block + _END + b"\n") for block in blocks)


def check_whole(data: bytes) -> None:
    """Raise ValueError for a PEM file that somebody is still writing."""
    if data.count(_BEGIN) != data.count(_END):
        raise ValueError("a revocation list in it is cut short")


def read_lists(data: bytes, authorities: Iterable[x509.Certificate]) -> tuple[RevocationList, ...]:
    """Every list of a file, each verified against the one of these authorities that it names.

    Raises TrustError for a list that none of them has signed, and ValueError for what is no list.
    """
    known = tuple(authorities)
    return tuple(_verified(unverified, known) for unverified in parse_lists(data))


def parse_issuers(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates that a file of lists holds beside them: of authorities below a root, which signed some of the
    lists. Who reads them has to see to it that an authority that is trusted signed them. Raises ValueError.
    """
    return parse_certificates(data) if b"-----BEGIN CERTIFICATE-----" in data else ()


def _verified(crl: x509.CertificateRevocationList, known: Sequence[x509.Certificate]) -> RevocationList:
    for authority in known:
        # A million entries take a second to verify: the name first, and once for the authority that it fits.
        if crl.issuer == authority.subject and is_signed_by(crl, authority):
            return RevocationList.of(crl, authority)
    raise TrustError("a revocation list is signed by no authority of the bundle")


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
