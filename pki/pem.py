"""Certificates and private keys out of PEM, and into it (RFC 7468)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Iterable

# The kinds of keys that we issue for, and accept in a credential folder.
MLDSAPrivateKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
MLDSAPublicKey: TypeAlias = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | MLDSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey | MLDSAPublicKey

_BEGIN = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----")
_OPENSSL_TRUSTED = b"-----BEGIN TRUSTED CERTIFICATE-----"


def parse_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Every certificate of a PEM file, in its order; at least one.

    The parser skips a block whose end is missing, and so would lose the last authority of a bundle that was
    cut short: the blocks are counted here. Raises ValueError with a reason that reads after "FILE: ".
    """
    blocks = sum(pem.count(begin) for begin in _BEGIN)
    if _OPENSSL_TRUSTED in pem:
        raise ValueError("it holds an OpenSSL TRUSTED CERTIFICATE: convert it with `openssl x509`")
    if not blocks:
        raise ValueError("it holds no PEM certificate")
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError("a certificate in it is damaged") from error
    if len(certificates) != blocks:
        raise ValueError("it is cut short: a certificate in it has no end")
    return certificates


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """The certificates as PEM blocks, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def parse_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The private key of a PEM file, of a kind that we use. A passphrase for a plain key is not used.

    Raises ValueError with a reason that reads after "FILE: ", for a wrong passphrase too.
    """
    encrypted = is_encrypted(pem)
    if encrypted and passphrase is None:
        raise ValueError("it is encrypted, and nobody is there to ask: decrypt it with `openssl pkey`")
    try:
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "the passphrase is wrong, or it is damaged" if encrypted else "it holds no private key in PEM"
        raise ValueError(reason) from error
    if not isinstance(key, PrivateKey):
        raise ValueError("its kind is not supported: use an EC, Ed25519, RSA or ML-DSA key")  # noqa: TRY004
    return key


def is_encrypted(pem: bytes) -> bool:
    """Whether a private key's PEM needs a passphrase (PKCS#8, or OpenSSL's older format)."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem or b"Proc-Type: 4,ENCRYPTED" in pem
