"""What every connection of one process shares."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from services.audit import Audit
from services.transport.admission import Admission
from services.transport.budget import Allowances
from services.transport.limits import Limits
from services.transport.tasks import call_soon, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.transport.connection import Connection
    from services.transport.engine import AppWrapper, Config, WorkerContext
    from services.transport.handshake import Handshake
    from services.transport.linger import Linger
    from services.transport.snapshot import Snapshot


_JUDGING = 0.005
"""Seconds for which connections are judged before the event loop serves again."""


class SnapshotHolder(Protocol):
    """Whoever knows the current Snapshot."""

    @property
    def snapshot(self) -> Snapshot: ...


@dataclass(slots=True, eq=False)
class Listener:
    """The application, the listener's description, and the connections that are open."""

    app: AppWrapper
    config: Config
    worker: WorkerContext
    source: SnapshotHolder
    state: dict[str, Any]
    """The lifespan's state: each request gets a shallow copy of it in its scope."""
    loop: asyncio.AbstractEventLoop
    limits: Limits = field(default_factory=Limits)
    admission: Admission = field(default_factory=Admission)
    audit: Audit = field(default_factory=Audit)
    connections: set[Handshake | Connection | Linger] = field(default_factory=set)
    access: Callable[[Any, int | None, float], None] | None = None
    """Writes the access log: scope, status (None: never answered), seconds. None: nobody reads one."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """The applications' tasks: asyncio itself keeps weak references only."""
    max_requests: int | None = None
    """How many requests this process answers before it asks to be replaced."""
    retire: Callable[[], None] = lambda: None
    requests: int = 0
    threads: tuple[Callable[..., Any], ...] = field(init=False)
    """What Hypercorn's wrappers of applications are called with besides: how WSGI ones run in threads, and send."""
    handshakes: dict[Handshake, None] = field(default_factory=dict)
    """Those under way, the oldest first."""
    allowances: Allowances = field(init=False)
    """How much work for nothing each caller's next connection may ask for."""
    _of_identity: Counter[str] = field(default_factory=Counter)
    _emptied: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.allowances = Allowances(self.limits)
        self.threads = partial(in_thread, self.loop), partial(call_soon, self.loop)

    def replace(self, before: Handshake | Connection, after: Connection | Linger) -> None:
        """A connection has come to its next part."""
        self.connections.discard(before)
        self.connections.add(after)

    def remove(self, connection: Handshake | Connection | Linger) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def count_request(self) -> None:
        """A request or a WebSocket has begun."""
        self.requests += 1
        if self.requests == self.max_requests:
            self.retire()

    def has_room(self) -> bool:
        """Whether one more connection may be taken. The oldest handshake makes room for it where those are too many:

        who has come to speak has done so long since, and those who only hold the door (slow handshakes) go first.
        """
        if len(self.connections) >= self.limits.max_connections:
            return False
        if len(self.handshakes) >= self.limits.max_handshakes:
            next(iter(self.handshakes)).make_room()
        return True

    def welcome(self, connection: Connection) -> bool:
        """Count a verified caller's connection; return whether it has no more of them than it may."""
        name = connection.peer.identity.name
        self._of_identity[name] += 1
        return self._of_identity[name] <= self.limits.max_connections_per_identity

    def farewell(self, connection: Connection) -> None:
        """It is one less."""
        name = connection.peer.identity.name
        self._of_identity[name] -= 1
        if not self._of_identity[name]:
            del self._of_identity[name]

    async def judge_all(self) -> None:
        """Judge every connection under a Snapshot that has just become the current one; others are served meanwhile."""
        since = self.loop.time()
        for connection in list(self.connections):
            connection.judge()
            if self.loop.time() - since > _JUDGING:
                await asyncio.sleep(0)
                since = self.loop.time()

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self.connections:
            self._emptied = self.loop.create_future()
            await self._emptied

    @property
    def draining(self) -> bool:
        """Whether the process is stopping: what is open may end, nothing new begins."""
        return self.worker.terminated.is_set()
