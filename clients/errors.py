"""What went wrong, in the caller's words.

    ClientError                  1
    ├── InvalidRequest           2   the URL or the path makes no sense
    ├── CredentialProblem        1   our own credential folder cannot be used
    ├── Unreachable              1   no connection: the host is not known, nobody listens, no route
    ├── TimedOut                 1   connected, or not, but no answer in time
    ├── ServerNotTrusted         1   the server's certificate is not one that our ca.crt vouches for
    │   └── WrongHostName        1   it is, and it is another server's
    ├── WrongProtocol            1   the server speaks no TLS, or not our HTTP version
    ├── CertificateRefused       1   the server refuses us: `alert` is its reason in words
    ├── ConnectionLost           1   the connection ended before the answer was whole
    ├── BadResponse              1   an answer, and not the one that was asked for: `status`
    └── RPCError                 1   a call that failed: `code`, canonical, such as `not_found`

Each message is one line that names the side and the cause, and what to do. `exit_code` is what a command ends with.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadResponse",
    "CertificateRefused",
    "ClientError",
    "ConnectionLost",
    "CredentialProblem",
    "InvalidRequest",
    "RPCError",
    "ServerNotTrusted",
    "TimedOut",
    "Unreachable",
    "WrongHostName",
    "WrongProtocol",
]


class ClientError(Exception):
    """Root of the tree."""

    exit_code: ClassVar[int] = 1


class InvalidRequest(ClientError):
    """The request makes no sense, whoever is asked."""

    exit_code: ClassVar[int] = 2


class CredentialProblem(ClientError):
    """Our own credential folder cannot be used."""


class Unreachable(ClientError):
    """There is no connection to the server."""


class TimedOut(ClientError):
    """The server did not answer in time."""


class ServerNotTrusted(ClientError):
    """The server's certificate is not trusted: nothing was sent to it."""


class WrongHostName(ServerNotTrusted):
    """The server's certificate is another server's."""


class WrongProtocol(ClientError):
    """The server does not speak what we speak."""


class CertificateRefused(ClientError):
    """The server refused the handshake; `alert` is the TLS alert in words (RFC 8446 section 6)."""

    def __init__(self, message: str, *, alert: str) -> None:
        super().__init__(message)
        self.alert = alert


class ConnectionLost(ClientError):
    """The connection ended before the answer was whole."""


class BadResponse(ClientError):
    """The answer is not the one that was asked for."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class RPCError(ClientError):
    """A call failed; `code` is its canonical code in lower case (`permission_denied`, `unavailable`...)."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.replace('_', ' ')}: {self.args[0]}"
