"""Keep, drain or cut: what becomes of a connection under the trust of this moment. Pure: no clock, no files.

A handshake proves who is calling when it happens. Trust changes while connections live, so each of them is judged again
on every new Snapshot and at every request: a connection opened yesterday does not outlive its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.peer import Peer
    from services.transport.snapshot import Snapshot


class Action(Enum):
    """What to do with a connection."""

    KEEP = "keep"
    DRAIN = "drain"
    """What is under way goes on, nothing new begins: the client comes back and meets the new certificate."""
    CUT = "cut"
    """Nobody vouches for this caller any more: end it now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why. A `keep` holds under its Snapshot until the moment `until`."""

    action: Action
    reason: str | None = None
    until: datetime | None = None


def verdict(peer: Peer, snapshot: Snapshot, now: datetime) -> Verdict:
    """Judge a peer whose handshake was accepted under this Snapshot or an earlier one.

    Cut: a certificate of its path is revoked or has expired; no authority of its path is in the bundle any more; the
    revocation list of its authority is stale, or is missing where one is required. Drain: the connection was made with
    another certificate of the server's, and is older than `recycle_after`. Keep: everything else. The cost does not
    grow with the number of the revoked.
    """
    if not any(certificate.sha256 in snapshot.anchors for certificate in peer.path):
        return Verdict(Action.CUT, "its authority is no longer trusted")
    expiry = min(certificate.not_after for certificate in peer.path)
    if now > expiry:
        return Verdict(Action.CUT, "its certificate has expired")
    objection = snapshot.revocations.objection(peer.path, now)
    if objection is not None:
        return Verdict(Action.CUT, objection.value)
    ends = [expiry]
    stale_at = snapshot.revocations.stale_at(peer.path)
    if stale_at is not None:
        ends.append(stale_at)
    if snapshot.recycle_after is not None and peer.generation < snapshot.presented_since:
        recycled_at = peer.since + snapshot.recycle_after
        if now >= recycled_at:
            return Verdict(Action.DRAIN, "the server's certificate was replaced")
        ends.append(recycled_at)
    return Verdict(Action.KEEP, until=min(ends))
