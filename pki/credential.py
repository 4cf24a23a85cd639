"""Credential: a private key and its certificate chain, and the folder that it lives in.

    FOLDER/tls.crt   the chain, leaf first, without the trust anchor
    FOLDER/tls.key   the private key, PKCS#8, 0600
    FOLDER/ca.crt    the trust bundle
    FOLDER/ca.crl    where there are any: the revocation lists of its authorities

The names are those of Kubernetes' `kubernetes.io/tls` secrets; `pki.folder` says how the three change
together. Also read: `cert.pem` and `key.pem`, one self-signed certificate that is its own authority.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki.crl import check_whole, parse_issuers
from pki.errors import CredentialError, TrustError
from pki.files import PRIVATE_FILE, PUBLIC_FILE, read_private
from pki.folder import Content, amend, current_version, publish, resolve
from pki.pem import PrivateKey, parse_certificates, parse_key, to_pem
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

__all__ = ["Credential"]

CERTIFICATE, KEY, TRUST, LISTS = "tls.crt", "tls.key", "ca.crt", "ca.crl"
# What `handclasp-pki self-signed` and many tools beside it write.
PLAIN_CERTIFICATE, PLAIN_KEY = "cert.pem", "key.pem"

# A plain folder is written one file after the other, and a version can be replaced twice while it is read.
# Who finds the files at odds looks again, so many times and so many seconds apart, before saying so.
_READS = 5
_BETWEEN_READS = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CredentialPaths:
    """The files of a credential folder, all of one version. `trust` may be the certificate itself.

    `lists` need not be there.
    """

    certificate: Path
    key: Path
    trust: Path
    lists: Path


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key and its chain, leaf first; they match. Two are equal when their chains are."""

    key: PrivateKey = field(repr=False, compare=False)
    chain: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if not self.chain:
            raise CredentialError("a credential needs a certificate")
        try:
            belongs = self.key.public_key() == self.leaf.public_key()
        except (ValueError, UnsupportedAlgorithm):
            belongs = False
        if not belongs:
            raise CredentialError("the private key does not belong to the (first) certificate")

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate of the key."""
        return self.chain[0]

    @classmethod
    def parse(cls, chain_pem: bytes, key_pem: bytes) -> Credential:
        """The credential in two PEM files' bytes. Raises CredentialError."""
        try:
            chain = parse_certificates(chain_pem)
        except ValueError as error:
            raise CredentialError(f"the certificate cannot be used: {error}") from error
        try:
            key = parse_key(key_pem)
        except ValueError as error:
            raise CredentialError(f"the private key cannot be used: {error}") from error
        return cls(key, chain)

    @classmethod
    def load(cls, folder: Path) -> Credential:
        """The credential in a folder. Raises CredentialError, its `path` set, and InsecurePermissions."""
        return _settled(lambda: _read_pair(folder, locate(folder)))

    def save(self, folder: Path, trust: TrustBundle, lists: bytes | None = None) -> None:
        """Write the folder, or its next version, as a whole: readers find the old files or the new.

        `lists` are the revocation lists of the bundle's authorities, PEM, where there are any.
        Waits for another writer of the same folder. Raises CredentialError; the folder is then as it was.
        """
        try:
            publish(folder, self.files(trust.to_pem(), lists))
        except OSError as error:
            message = f"the credential folder {folder} cannot be written: {error.strerror}"
            raise CredentialError(message, path=folder) from error

    def files(self, trust_pem: bytes, lists: bytes | None = None) -> dict[str, Content]:
        """What its folder holds."""
        return files_of(self.key, self.chain, trust_pem, lists)

    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8."""
        return _key_pem(self.key)

    def chain_pem(self) -> bytes:
        """The chain, leaf first."""
        return to_pem(self.chain)


def files_of(
    key: PrivateKey, chain: Sequence[x509.Certificate], trust_pem: bytes, lists: bytes | None = None
) -> dict[str, Content]:
    """What the folder of a credential holds, of a key and a chain that are known to belong together."""
    return {
        CERTIFICATE: Content(to_pem(chain), PUBLIC_FILE),
        KEY: Content(_key_pem(key), PRIVATE_FILE),
        **trust_files(trust_pem, lists),
    }


def load_folder(folder: Path) -> tuple[Credential, TrustBundle]:
    """What a server and a client load: the pair and the authorities that it trusts, all of one version.

    Looks again for a tenth of a second where the files are at odds, as they are while somebody copies them.
    Raises CredentialError, InsecurePermissions, TrustError.
    """

    return _settled(lambda: _read_folder(folder, locate(folder)))


class Lists(NamedTuple):
    """What `ca.crl` holds: nothing of it is verified yet, and its lists are not even taken apart."""

    data: bytes | None = None
    """The file; None where there is none."""
    issuers: tuple[x509.Certificate, ...] = ()
    """The authorities below a root that signed some of them."""


def load_folder_with_lists(folder: Path) -> tuple[Credential, TrustBundle, Lists]:
    """`load_folder`, and the revocation lists beside it, all of one version.

    Raises TrustError, its `path` set, for a `ca.crl` that cannot be read; there need not be one.
    """

    def read() -> tuple[Credential, TrustBundle, Lists]:
        paths = locate(folder)
        return *_read_folder(folder, paths), _read_lists(paths.lists)

    return _settled(read)


def trust_files(trust_pem: bytes, lists: bytes | None) -> dict[str, Content]:
    """What a folder holds beside the credential itself."""
    files = {TRUST: Content(trust_pem, PUBLIC_FILE)}
    return files if lists is None else files | {LISTS: Content(lists, PUBLIC_FILE)}


def save_trust(folder: Path, trust_pem: bytes, lists: bytes | None) -> bool:
    """Put this trust beside the credential in a folder, in one step; whether that changed anything.

    Raises CredentialError; the folder is then as it was.
    """
    try:
        return amend(
            folder,
            trust_files(trust_pem, lists),
            {CERTIFICATE: PUBLIC_FILE, KEY: PRIVATE_FILE, LISTS: PUBLIC_FILE},
        )
    except OSError as error:
        message = f"the credential folder {folder} cannot be written: {error.strerror}"
        raise CredentialError(message, path=folder) from error


def locate(folder: Path) -> CredentialPaths:
    """The three files of the folder's present version. Raises CredentialError where there is none."""
    try:
        if not folder.is_dir():
            message = f"the credential folder {folder} does not exist: make one with `handclasp-pki issue`"
            raise CredentialError(message, path=folder)
        version = current_version(folder)
        certificate, key, trust, lists = (
            resolve(folder, name, version=version) for name in (CERTIFICATE, KEY, TRUST, LISTS)
        )
        if certificate.exists():
            return CredentialPaths(certificate, key, trust, lists)
        plain = folder / PLAIN_CERTIFICATE
        if plain.exists():
            return CredentialPaths(plain, folder / PLAIN_KEY, trust if trust.exists() else plain, lists)
    except OSError as error:
        message = f"the credential folder {folder} cannot be read: {error.strerror}"
        raise CredentialError(message, path=folder) from error
    message = f"{folder} holds no {CERTIFICATE} and no {PLAIN_CERTIFICATE}: use `handclasp-pki issue`"
    raise CredentialError(message, path=folder)


def is_occupied(folder: Path) -> bool:
    """Whether any file of a credential is in the folder, which a first `save` would replace."""
    try:
        return any((folder / name).exists() for name in (CERTIFICATE, KEY, TRUST))
    except OSError as error:
        message = f"the credential folder {folder} cannot be read: {error.strerror}"
        raise CredentialError(message, path=folder) from error


def _read_folder(folder: Path, paths: CredentialPaths) -> tuple[Credential, TrustBundle]:
    credential = _read_pair(folder, paths)
    if paths.trust != paths.certificate:
        return credential, TrustBundle.load(paths.trust)
    # Only a certificate that signed itself may vouch for itself.
    if credential.leaf.issuer != credential.leaf.subject:
        message = f"{folder} holds no {TRUST}: put the certificate of the authority there"
        raise TrustError(message, path=folder / TRUST)
    try:
        return credential, TrustBundle((credential.leaf,))
    except TrustError as error:
        message = f"{folder} holds no {TRUST}, and its certificate is no authority of its own"
        raise TrustError(message, path=folder / TRUST) from error


def _read_lists(path: Path) -> Lists:
    try:
        data = path.read_bytes()
        check_whole(data)
        return Lists(data, parse_issuers(data))
    except FileNotFoundError:
        return Lists()
    except OSError as error:
        raise TrustError(f"the revocation list {path} cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise TrustError(f"the revocation list {path} cannot be used: {error}", path=path) from error


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_pair(folder: Path, paths: CredentialPaths) -> Credential:
    try:
        chain_pem = paths.certificate.read_bytes()
        key_pem = read_private(paths.key)
        changed = paths.certificate.read_bytes() != chain_pem
    except OSError as error:
        message = f"the credential file {error.filename} cannot be read: {error.strerror}"
        raise CredentialError(message, path=folder) from error
    if changed:
        raise CredentialError(f"the credential folder {folder} is being written to: try again", path=folder)
    try:
        return Credential.parse(chain_pem, key_pem)
    except CredentialError as error:
        raise CredentialError(f"the credential in {folder} cannot be used: {error}", path=folder) from error


def _settled(read: Callable[[], T]) -> T:
    for _ in range(_READS - 1):
        try:
            return read()
        except (CredentialError, TrustError):
            time.sleep(_BETWEEN_READS)
    return read()
