"""Who is connected now and who was refused lately, as one process sees it: what the admin page shows.

It observes the audit log's events. Bounded: connections are, and of refusals the latest are kept.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.pages.watching import Watching

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.transport.snapshot import Snapshot

KEY = "handclasp"
"""Where an application finds the Overview: in its lifespan's state, `scope["state"]["handclasp"]`."""

_current: ContextVar[Overview | None] = ContextVar("handclasp.overview", default=None)

_REFUSED = ("handshake.refused", "request.refused", "connection.cut", "connection.refused", "enrollment.refused")
_REFUSALS_KEPT = 50
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody who was not let in, or not let do something."""

    time: datetime
    event: str
    reason: str
    who: str
    """What was presented, or the identity; unverified where the handshake was refused."""
    address: str


@dataclass(slots=True)
class Presence:
    """One identity's open connections."""

    protocols: Counter[str] = field(default_factory=Counter)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the first of those open in a row was opened."""

    @property
    def connections(self) -> int:
        return self.protocols.total()


@dataclass(slots=True)
class Overview:
    """What is known here, and of what."""

    snapshot: Callable[[], Snapshot]
    folder: Path
    """The credential's."""
    stopping: Callable[[], bool]
    guarded: bool
    """Whether a policy or an engine is asked who may see this."""
    workers: int
    state: Path | None
    """The authority's state folder, where the inventory is; None: it is not on this machine."""
    database: str | None = field(default=None, repr=False)
    present: dict[str, Presence] = field(default_factory=dict)
    refusals: deque[Refusal] = field(default_factory=lambda: deque(maxlen=_REFUSALS_KEPT))
    watching: Watching = field(default_factory=Watching)
    """Who looks at the page."""
    streams: set[asyncio.Task[Any]] = field(default_factory=set)
    """RPC streams under way, which can be ended in words."""
    streams_ended: bool = False
    changes: int = 0
    """Goes up with everything that happens."""
    pid: int = field(default_factory=os.getpid)

    def observe(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note of an event of the audit log."""
        if event == "connection.opened":
            presence = self.present.setdefault(facts["identity"], Presence())
            presence.protocols[facts["alpn"] or "http/1.1"] += 1
        elif event == "connection.closed":
            self._gone(facts["identity"], facts["alpn"] or "http/1.1")
        elif event in _REFUSED:
            self.refusals.appendleft(_refusal(event, facts))
        self.changes += 1

    def end_streams(self) -> None:
        """The server's patience ends: tell those who are still in a stream, before they are cut off."""
        self.streams_ended = True
        for task in self.streams:
            task.cancel()

    def _gone(self, identity: str, protocol: str) -> None:
        presence = self.present.get(identity)
        if presence is None:
            return
        presence.protocols[protocol] -= 1
        if not presence.connections:
            del self.present[identity]


def _refusal(event: str, facts: Mapping[str, Any]) -> Refusal:
    presented = facts.get("presented") or {}
    who = facts.get("identity") or presented.get("names") or presented.get("subject") or ""
    return Refusal(datetime.now(UTC), event, facts["reason"][:_LONGEST], who[:_LONGEST], facts.get("address") or "")


def current_overview() -> Overview | None:
    """The Overview of the server that runs this RPC, for code without a scope; None under another server."""
    return _current.get()


def bind_overview(overview: Overview | None) -> None:
    """Make it the current one in the running context."""
    _current.set(overview)
