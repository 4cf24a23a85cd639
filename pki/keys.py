"""Private keys: which types there are, making one, and which type one is of."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

if TYPE_CHECKING:
    from pki.pem import MLDSAPrivateKey, MLDSAPublicKey, PrivateKey


class KeyType(StrEnum):
    """The key types that are issued, by the names of the `--key` option."""

    P256 = "p256"
    P384 = "p384"
    P521 = "p521"
    ED25519 = "ed25519"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"
    ML_DSA_44 = "ml-dsa-44"
    ML_DSA_65 = "ml-dsa-65"
    ML_DSA_87 = "ml-dsa-87"

    @property
    def experimental(self) -> bool:
        """Whether few programs know it yet: ML-DSA (FIPS 204, RFC 9881), which a quantum computer does not break."""
        return self in _ML_DSA

    @classmethod
    def of(cls, key: object) -> KeyType:
        """The type of a key that there is; p256 for one that is not among them."""
        try:
            return cls(describe_key(key))
        except ValueError:
            return cls.P256

    def generate(self) -> PrivateKey:
        """A new private key of this type."""
        if self in _ML_DSA:
            return _ML_DSA[self].generate()
        if self is KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        if self in _CURVES:
            return ec.generate_private_key(_CURVES[self])
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[self])


_CURVES: dict[KeyType, ec.EllipticCurve] = {
    KeyType.P256: ec.SECP256R1(),
    KeyType.P384: ec.SECP384R1(),
    KeyType.P521: ec.SECP521R1(),
}
_CURVE_NAMES = {curve.name: str(key_type) for key_type, curve in _CURVES.items()}
_ML_DSA: dict[KeyType, type[MLDSAPrivateKey]] = {
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey,
}
_ML_DSA_NAMES: dict[type[MLDSAPublicKey], KeyType] = {
    mldsa.MLDSA44PublicKey: KeyType.ML_DSA_44,
    mldsa.MLDSA65PublicKey: KeyType.ML_DSA_65,
    mldsa.MLDSA87PublicKey: KeyType.ML_DSA_87,
}
_RSA_BITS = {KeyType.RSA3072: 3072, KeyType.RSA4096: 4096}
# RFC 5480 4: the hash goes with the size of the curve.
_HASHES: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def describe_key(key: object) -> str:
    """The name of a public key's type: that of its KeyType, or a name in its manner where it has none."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVE_NAMES.get(key.curve.name, key.curve.name)
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa{key.key_size}"
    for kind, key_type in _ML_DSA_NAMES.items():
        if isinstance(key, kind):
            return str(key_type)
    return type(key).__name__.removesuffix("PublicKey").lower()


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash that this key signs with; None for Ed25519 and ML-DSA, which have their own (RFC 8410, RFC 9881)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _HASHES.get(key.curve.name, hashes.SHA256())
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


def sign(key: PrivateKey, data: bytes) -> bytes:
    """The signature of `data` as certificates and revocation lists have it, by the algorithm of `signature_hash`."""
    algorithm = signature_hash(key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert algorithm is not None
        return key.sign(data, ec.ECDSA(algorithm))
    if isinstance(key, rsa.RSAPrivateKey):
        assert algorithm is not None
        return key.sign(data, padding.PKCS1v15(), algorithm)
    return key.sign(data)
