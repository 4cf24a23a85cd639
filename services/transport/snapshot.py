"""One immutable value: what this server presents and whom it trusts, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from pki.credential import Credential
    from pki.trust import TrustBundle
    from services.authorization.policy import Policy
    from services.transport.revocations import Revocations


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The trust that a connection is judged by. Replaced as a whole, by one assignment, never changed.

    `context` is the OpenSSL context made from the other fields: every connection accepted under this Snapshot uses
    it, and a change of trust means a new Snapshot with a new context (contexts are never mended while they live).
    """

    credential: Credential
    trust: TrustBundle
    revocations: Revocations
    lists_sha256: bytes | None
    """Of the file that they were read from; None where there was none."""
    vouchers: Mapping[bytes, frozenset[bytes]]
    """By the key of who may sign a list: the keys of the anchors that vouch for it, its own where it is one."""
    recycle_after: timedelta | None
    """Age from which connections are drained that were made with another certificate of ours; None: never."""
    generation: int
    """1 for the first, one more with each change that was taken up."""
    context: Any
    """An `OpenSSL.SSL.Context`; typed loosely so that this module needs no pyOpenSSL."""
    anchors: frozenset[bytes]
    """SHA-256 of each certificate of `trust`."""
    presented_since: int
    """The generation from which on this credential is presented."""
    policy: Policy | None
    """Who may do what; None: the application alone decides."""
    server_cert: str
    """The leaf that is presented, PEM: for the ASGI TLS extension."""
