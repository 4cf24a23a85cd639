"""What every connection of one process shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from services.transport.connection import Connection
    from services.transport.engine import AppWrapper, Config, WorkerContext
    from services.transport.handshake import Handshake
    from services.transport.linger import Linger
    from services.transport.snapshot import Snapshot


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
    unending: WorkerContext
    """What Hypercorn's HTTP/1.1 is told: a worker that never stops. It would close behind the next response, without
    having said so in it; when a connection ends, and how, is decided here."""
    source: SnapshotHolder
    state: dict[str, Any]
    """The lifespan's state: each request gets a shallow copy of it in its scope."""
    loop: asyncio.AbstractEventLoop
    connections: set[Handshake | Connection | Linger] = field(default_factory=set)
    access: Callable[[Any, int | None, float], None] | None = None
    """Writes the access log: scope, status (None: never answered), seconds. None: nobody reads one."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """The applications' tasks: asyncio itself keeps weak references only."""
    _emptied: asyncio.Future[None] | None = None

    def replace(self, before: Handshake | Connection, after: Connection | Linger) -> None:
        """A connection has come to its next part."""
        self.connections.discard(before)
        self.connections.add(after)

    def remove(self, connection: Handshake | Connection | Linger) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self.connections:
            self._emptied = self.loop.create_future()
            await self._emptied

    @property
    def draining(self) -> bool:
        """Whether the process is stopping: what is open may end, nothing new begins."""
        return self.worker.terminated.is_set()
