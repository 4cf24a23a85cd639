"""One immutable value: what this server presents and whom it trusts, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pki.credential import Credential
    from pki.trust import TrustBundle


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The trust that a connection is judged by. Replaced as a whole, by one assignment, never changed.

    `context` is the OpenSSL context made from the other fields: every connection accepted under this Snapshot uses
    it, and a change of trust means a new Snapshot with a new context (contexts are never mended while they live).
    """

    credential: Credential
    trust: TrustBundle
    generation: int
    """1 for the first, one more with each change that was taken up."""
    context: Any
    """An `OpenSSL.SSL.Context`; typed loosely so that this module needs no pyOpenSSL."""
    server_cert: str
    """The leaf that is presented, PEM: for the ASGI TLS extension."""
