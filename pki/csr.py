"""Certificate signing requests (PKCS #10, RFC 2986): the key of somebody who shows it to nobody.

Of a request only the key is used, once its own signature shows that who asks has it. What else it says is a wish, of a
stranger perhaps: names and purposes are the authority's to give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.errors import CSRError, NotFound
from pki.keys import KeyType, describe_key
from pki.pem import PublicKey

if TYPE_CHECKING:
    from pathlib import Path

    from pki.names import Names

_BEGIN = (b"-----BEGIN CERTIFICATE REQUEST-----", b"-----BEGIN NEW CERTIFICATE REQUEST-----")
# The largest key has a request of 10 kilobytes, and /dev/zero has no end.
_LARGEST = 1 << 20
# 112 bits, which is what a handshake asks for; beyond the other end only time is lost (NIST SP 800-57 1, table 2).
_RSA_BITS = range(2048, 8193)
# What is smaller is broken where padding is checked badly (FIPS 186-5 A.1.1).
_RSA_EXPONENT = 65537
_CURVES = (KeyType.P256, KeyType.P384, KeyType.P521)
_KINDS = "use p256, p384, p521, ed25519, or RSA of 2048 to 8192 bits"
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A request that was signed by its own key: that key, and the names that it asks for, as it wrote them."""

    key: PublicKey
    subject: str
    alternative_names: tuple[tuple[type[x509.GeneralName], str], ...]

    @classmethod
    def parse(cls, data: bytes) -> SigningRequest:
        """The request in PEM or DER. Raises CSRError for what is none, a key that is too weak, a bad signature."""
        request = _decoded(data)
        key = _key(request)
        try:
            signed = request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CSRError("its signature is of a kind that is not supported: sign it with SHA-256") from error
        if not signed:
            raise CSRError("its signature was not made by its key: it is damaged, or the key is somebody else's")
        return cls(key, _subject(request), _alternative_names(request))

    @classmethod
    def load(cls, path: Path) -> SigningRequest:
        """The request in a file. Raises NotFound, CSRError, its `path` set."""
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except FileNotFoundError as error:
            raise NotFound(f"{path} does not exist", path=path) from error
        except OSError as error:
            raise CSRError(f"{path} cannot be read: {error.strerror}", path=path) from error
        try:
            return cls.parse(data)
        except CSRError as error:
            raise CSRError(f"{path} cannot be signed: {error}", path=path) from error

    def unlike(self, names: Names) -> str | None:
        """What it asks for, in words, where that is something else than these names; None where it is not.

        A request that leaves its subject or its alternative names empty leaves them to the authority.
        """
        given = {(type(entry), str(entry.value).lower()) for entry in names.general_names()}
        asked = {(kind, text.lower()) for kind, text in self.alternative_names}
        if self.subject in ("", f"CN={names.name}") and (not asked or asked == given):
            return None
        words = [self.subject or "no subject", *(text for _, text in self.alternative_names)]
        text = ", ".join(words)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _decoded(data: bytes) -> x509.CertificateSigningRequest:
    if len(data) > _LARGEST:
        raise CSRError("it is too large to be a certificate signing request")
    blocks = sum(data.count(begin) for begin in _BEGIN)
    if blocks > 1:
        raise CSRError("it holds more than one certificate signing request: pass them one by one")
    if not blocks and b"-----BEGIN" in data:
        raise CSRError("it holds no certificate signing request: make one with `openssl req -new`")
    try:
        return x509.load_pem_x509_csr(data) if blocks else x509.load_der_x509_csr(data)
    except (ValueError, x509.InvalidVersion) as error:
        what = "it is damaged" if blocks else "it holds no certificate signing request, neither in PEM nor in DER"
        raise CSRError(what) from error


def _key(request: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CSRError(f"its key cannot be used: {_KINDS}") from error
    kind = describe_key(key)
    if not isinstance(key, PublicKey):
        raise CSRError(f"its key is of the type {kind}, which is not supported: {_KINDS}")
    if isinstance(key, ec.EllipticCurvePublicKey) and kind not in _CURVES:
        raise CSRError(f"its key is on the curve {kind}, which is not supported: {_KINDS}")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS.start:
            raise CSRError(f"its RSA key of {key.key_size} bits is too weak: {_KINDS}")
        if key.key_size not in _RSA_BITS:
            raise CSRError(f"its RSA key of {key.key_size} bits is too large: {_KINDS}")
        if key.public_numbers().e < _RSA_EXPONENT:
            raise CSRError(f"its RSA key has the exponent {key.public_numbers().e}: use {_RSA_EXPONENT}")
    return key


def _subject(request: x509.CertificateSigningRequest) -> str:
    try:
        return request.subject.rfc4514_string()
    except ValueError:
        return "a subject that cannot be read"


def _alternative_names(request: x509.CertificateSigningRequest) -> tuple[tuple[type[x509.GeneralName], str], ...]:
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple((type(entry), str(entry.value)) for entry in found)
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm):
        return ((x509.GeneralName, "extensions that cannot be read"),)
