"""A credential as one PKCS #12 file (RFC 7292): what browsers, phones, Windows and Java import. No files, no clock."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from pki.errors import CredentialError, PassphraseError
from pki.keys import describe_key
from pki.pem import MLDSAPrivateKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

    from pki.credential import Credential
    from pki.trust import TrustBundle

# Crockford's 32 letters: none of them is taken for another. 28 of them are 140 random bits.
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUPS, _GROUP = 7, 4


def new_passphrase() -> str:
    """A random passphrase of more than 128 bits, in groups that can be read aloud and typed on a phone."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def to_pkcs12(
    credential: Credential, trust: TrustBundle, name: str, passphrase: bytes, *, legacy: bool = False
) -> bytes:
    """Key, certificate, what leads to the trust anchor, and the trust anchors; called `name` where it is imported.

    AES-256 and HMAC-SHA-256 by PBES2; `legacy` is 3DES and SHA-1, for programs that know nothing else. The file is
    as strong as its passphrase: a guess is tried against a MAC of 2,048 rounds, which the library does not let us
    raise. Raises CredentialError for a key that PKCS #12 has no readers for, PassphraseError for a passphrase that is
    not text in UTF-8.
    """
    if isinstance(credential.key, MLDSAPrivateKey):
        kind = describe_key(credential.key.public_key())
        raise CredentialError(f"a key of the type {kind} does not go into a PKCS #12 file: issue {name} with another")
    try:
        passphrase.decode()
    except UnicodeDecodeError as error:
        raise PassphraseError("the password of a PKCS #12 file is text: save it in UTF-8") from error
    others = dict.fromkeys((*credential.chain[1:], *trust))
    encryption = _legacy(passphrase) if legacy else _modern(passphrase)
    return serialize_key_and_certificates(name.encode(), credential.key, credential.leaf, [*others], encryption)


def _modern(passphrase: bytes) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder()
    return builder.key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256()).build(passphrase)


def _legacy(passphrase: bytes) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder()
    return builder.key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1()).build(passphrase)  # noqa: S303
