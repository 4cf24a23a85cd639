"""Who is calling: the identity that OpenSSL verified, and the facts of the connection it was verified on."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pki.identity import Identity

__all__ = ["NoPeerError", "PathCertificate", "Peer", "current_peer"]


class NoPeerError(LookupError):
    """`current_peer()` was called where no request of a Handclasp connection is being answered."""


class PathCertificate(NamedTuple):
    """One certificate of the path that was verified, as far as judging it again needs it."""

    sha256: bytes
    """Of the certificate."""
    serial: int
    not_after: datetime
    issuer_key: bytes | None
    """SHA-256 of the public key that signed it; None for the trust anchor, which nobody here vouches for."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The verified caller. Made once a connection, the same object for every request on it.

    `chain` is the chain that OpenSSL verified, PEM, leaf first, trust anchor last: never what was merely presented.
    """

    identity: Identity
    subject: str
    """The leaf's subject as RFC 4514 text: for people and logs, never an identity (RFC 9525 section 2)."""
    chain: tuple[str, ...]
    tls_version: str
    """As OpenSSL names it: `TLSv1.3` or `TLSv1.2`."""
    cipher: str
    """The cipher suite under OpenSSL's name, for example `TLS_AES_256_GCM_SHA384`."""
    group: str | None
    """The key exchange group, for example `X25519MLKEM768`; None where OpenSSL names none."""
    alpn: str | None
    """The protocol agreed by ALPN (RFC 7301): `h2`, `http/1.1`, or None where the client offered none."""
    address: tuple[str, int] | None
    """Host and port that the connection came from."""
    generation: int
    """The Snapshot that judged the handshake."""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the handshake was done."""
    path: tuple[PathCertificate, ...] = field(default=(), repr=False)
    """`chain`, as `verdict` reads it."""

    def __str__(self) -> str:
        return self.identity.name


_current: ContextVar[Peer] = ContextVar("handclasp.peer")


def current_peer() -> Peer:
    """Return the caller of the request or WebSocket that is being answered, for code without a scope.

    Raises:
        NoPeerError: outside a request (a background task started elsewhere, the lifespan, a test without a server).
    """
    try:
        return _current.get()
    except LookupError:
        raise NoPeerError("no request is being answered here, so nobody is calling") from None


def bind_peer(peer: Peer) -> None:
    """Make `peer` the current one in the running context. The transport calls it once a connection."""
    _current.set(peer)
