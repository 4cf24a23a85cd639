"""The authority on disk: `ca.crt` and `ca.key`, the key encrypted where there is a passphrase.

Where the authority stands below a root, `root.crt` and `root.key` lie beside them. The root's key is always encrypted,
and nothing here ever reads it: it belongs on another medium, offline, and its absence is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from pki.authority import CertificateAuthority
from pki.errors import CorruptState, NotFound, PassphraseError, StateError
from pki.files import PRIVATE_FILE, PUBLIC_FILE, new_folder, read_private, write_new
from pki.pem import is_encrypted, parse_certificates, parse_key, to_pem
from pki.trust import is_authority

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from pki.pem import PrivateKey

CERTIFICATE, KEY = "ca.crt", "ca.key"
ROOT_CERTIFICATE, ROOT_KEY = "root.crt", "root.key"
# OpenSSL reads no longer one, so a key encrypted with it would be lost.
_LONGEST_PASSPHRASE = 1023
_AUTHORITY_S = "the authority's"
_CURE = "restore it from a copy, or move the folder away and make another authority with `init`"


@dataclass(frozen=True, slots=True)
class RootKey:
    """The key of a root that has signed, and the passphrase that it is put away under."""

    key: PrivateKey = field(repr=False)
    passphrase: bytes = field(repr=False)


def save_authority(
    authority: CertificateAuthority, folder: Path, passphrase: bytes | None, root: RootKey | None = None
) -> None:
    """Make the folder, certificate and key in it, by one rename. Raises StateError, where there is one already too."""
    try:
        with new_folder(folder) as beside:
            write_new(beside / KEY, _key_pem(authority.key, passphrase), PRIVATE_FILE)
            write_new(beside / CERTIFICATE, to_pem((authority.certificate,)), PUBLIC_FILE)
            if authority.root is not None:
                write_new(beside / ROOT_CERTIFICATE, to_pem((authority.root,)), PUBLIC_FILE)
            if root is not None:
                write_new(beside / ROOT_KEY, _key_pem(root.key, root.passphrase), PRIVATE_FILE)
    except OSError as error:
        raise StateError(f"the authority cannot be written to {folder}: {error.strerror}", path=folder) from error


def load_authority(folder: Path, passphrase: bytes | None) -> CertificateAuthority:
    """The authority, ready to sign. A passphrase is not used where the key is not encrypted.

    Raises NotFound, CorruptState, PassphraseError, InsecurePermissions.
    """
    certificate = load_authority_certificate(folder)
    path = folder / KEY
    try:
        pem = read_private(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if is_encrypted(pem) and passphrase is None:
        raise PassphraseError(f"{path} is encrypted: set HANDCLASP_CA_PASSPHRASE or pass --passphrase-file", path=path)
    try:
        return CertificateAuthority(certificate, parse_key(pem, passphrase), load_root_certificate(folder))
    except ValueError as error:
        if is_encrypted(pem):
            raise PassphraseError(f"{path} does not open: {error}", path=path) from error
        raise CorruptState(f"{path} is damaged ({error}): {_CURE}", path=path) from error
    except CorruptState as error:
        raise CorruptState(f"{path}: {error}; {_CURE}", path=path) from error


def load_authority_certificate(folder: Path) -> x509.Certificate:
    """The authority's certificate alone, which needs no passphrase. Raises NotFound, CorruptState."""
    try:
        return _one_authority(folder / CERTIFICATE)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.exists():
            raise no_authority(folder.parent) from error
        raise _unreadable(folder / CERTIFICATE, error) from error


def load_root_certificate(folder: Path) -> x509.Certificate | None:
    """The certificate of the root above the authority; None where the authority is its own. Raises CorruptState."""
    try:
        return _one_authority(folder / ROOT_CERTIFICATE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(folder / ROOT_CERTIFICATE, error) from error


def _one_authority(path: Path) -> x509.Certificate:
    try:
        certificate, *others = parse_certificates(path.read_bytes())
    except ValueError as error:
        raise CorruptState(f"{path} is damaged ({error}): {_CURE}", path=path) from error
    if others or not is_authority(certificate):
        raise CorruptState(f"{path} does not hold the certificate of one authority: {_CURE}", path=path)
    return certificate


def read_passphrase(path: Path, whose: str = _AUTHORITY_S) -> bytes:
    """The passphrase in a file, without the line's end; `whose` it is. Raises PassphraseError."""
    try:
        with path.open("rb") as file:
            # No more than tells that it is too long: /dev/zero has no end.
            text = file.read(_LONGEST_PASSPHRASE + 3)
    except OSError as error:
        raise PassphraseError(f"the passphrase file {path} cannot be read: {error.strerror}", path=path) from error
    return check_passphrase(text.removesuffix(b"\n").removesuffix(b"\r"), whose)


def no_authority(state: Path) -> NotFound:
    """What to raise for a state folder without an authority."""
    return NotFound(f"there is no authority in {state}: make one with `handclasp-pki --state {state} init`", path=state)


def check_passphrase(passphrase: bytes, whose: str = _AUTHORITY_S) -> bytes:
    """The passphrase, if it can be one. Raises PassphraseError: an empty one would leave the key open."""
    if not passphrase:
        raise PassphraseError(f"{whose} passphrase is empty: give it a text, or leave it out")
    if len(passphrase) > _LONGEST_PASSPHRASE:
        raise PassphraseError(f"{whose} passphrase is longer than {_LONGEST_PASSPHRASE} bytes")
    return passphrase


def _key_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _unreadable(path: Path, error: OSError) -> StateError:
    if isinstance(error, FileNotFoundError):
        return CorruptState(f"{path} is missing: {_CURE}", path=path)
    return StateError(f"{path} cannot be read: {error.strerror}", path=path)
