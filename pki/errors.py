"""Everything that `pki` raises, and the exit code that a command ends with.

    PKIError                     1
    ├── UsageError               2   the request makes no sense: a bad option, too few names, a bad lifetime
    │   └── InvalidName          2   a name, email, URI, DNS name or IP address that no certificate may hold
    ├── StateError               1   the state folder says no
    │   ├── AlreadyExists        1   it is there, and nothing is ever overwritten
    │   ├── NotFound             1   no authority, no such name, no such file
    │   ├── CorruptState         1   there, and not what it should be
    │   ├── Locked               1   another process is writing: `pid`
    │   ├── PassphraseError      1   the passphrase of the authority's key is wrong or missing
    │   └── InventoryError       1   the database of the inventory is missing, unreachable, full, or of another version
    ├── CredentialError          1   a credential folder that cannot be used: `path`
    │   └── InsecurePermissions  1   a private key that others can read: `path`, `mode`
    ├── EnrollmentError          1   a renewal or an enrollment that is refused, whatever the request says
    │   └── TokenError           1   a one-time token that is not known, was used, or has expired
    ├── CSRError                 1   a certificate signing request that nobody should sign: `path`
    ├── TrustError               1   a trust bundle that is missing, empty, unreadable, or holds a non-CA
    └── IdentityError            1   a certificate that names nobody, or somebody in a forbidden way

Each message is one line that says what is wrong and how to mend it. Facts are fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AlreadyExists",
    "CSRError",
    "CorruptState",
    "CredentialError",
    "EnrollmentError",
    "IdentityError",
    "InsecurePermissions",
    "InvalidName",
    "InventoryError",
    "Locked",
    "NotFound",
    "PKIError",
    "PassphraseError",
    "StateError",
    "TokenError",
    "TrustError",
    "UsageError",
]


class PKIError(Exception):
    """Root of the tree: everything a user can cause."""

    exit_code: ClassVar[int] = 1


class UsageError(PKIError):
    """What was asked for cannot be done by any state: ask differently."""

    exit_code: ClassVar[int] = 2


class InvalidName(UsageError):
    """A name that may not go into a certificate."""


class StateError(PKIError):
    """The state folder does not allow it."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class AlreadyExists(StateError):
    """It exists, and nothing is overwritten."""


class NotFound(StateError):
    """It does not exist."""


class CorruptState(StateError):
    """It exists and is not what it should be."""


class Locked(StateError):
    """Another process holds the state folder; `pid` is its process id, None when it could not be read."""

    def __init__(self, message: str, *, path: Path | None = None, pid: int | None = None) -> None:
        super().__init__(message, path=path)
        self.pid = pid


class PassphraseError(StateError):
    """The passphrase of the authority's key is wrong or missing."""


class InventoryError(StateError):
    """The inventory's database does not answer as it should; no password is in the message."""


class CredentialError(PKIError):
    """A credential that cannot be used: a missing or unreadable file, or a key of another certificate."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class InsecurePermissions(CredentialError):
    """A private key that others than its owner can read; `mode` holds its permission bits."""

    def __init__(self, message: str, *, path: Path, mode: int) -> None:
        super().__init__(message, path=path)
        self.mode = mode


class EnrollmentError(PKIError):
    """Who asks gets no certificate: the message may be told to them, and says nothing of others."""


class TokenError(EnrollmentError):
    """A one-time token that is not known, was used, or has expired."""


class CSRError(PKIError):
    """A certificate signing request that is damaged, not signed by its own key, or for a key that is too weak."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class TrustError(PKIError):
    """A trust bundle without a usable authority in it."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class IdentityError(PKIError):
    """A certificate that names nobody, or names somebody in a way that is not allowed."""
