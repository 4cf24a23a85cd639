"""How the workers of a server share what arrives on their sockets: who has the fewest connections open takes the next.

The kernel wakes them all for a connection, and of those that idle it is nearly always the same one that comes first:
left to it, one worker would hold every connection, and the others none. So a worker that has more of them than another
stands back for a moment. What still waits after that it takes: a worker that hangs costs the others a moment, no more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, MutableSequence, Sequence

    from services.transport.handshake import Handshake

log = structlog.get_logger("handclasp.transport")

STAND_BACK = 0.025
"""Seconds that a busier worker leaves to the others: what a machine that is loaded takes to wake one."""

_RECOVERY = 1.0
"""Seconds after which a worker tries again that could not accept: it has no descriptor or memory left, mostly."""

_AT_ONCE = 64
"""Connections that are accepted before the event loop serves again."""

_ABSENT = -1


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's place in what all of them see: how many connections each has open.

    Each writes to its own place alone, and a count that is a moment old is good enough: nothing is locked.
    """

    counts: MutableSequence[int]
    place: int

    def say(self, count: int) -> None:
        """I accept connections, and have so many."""
        self.counts[self.place] = count

    def leave(self) -> None:
        """I accept none any more."""
        self.counts[self.place] = _ABSENT

    @property
    def is_busiest(self) -> bool:
        """Whether another one that accepts has fewer."""
        mine = self.counts[self.place]
        return any(_ABSENT < count < mine for count in self.counts)


class Shares:
    """The places of all workers of a server."""

    def __init__(self, workers: int) -> None:
        """More places than workers: one that drains keeps its own beside its successor."""
        self._counts: MutableSequence[int] = [_ABSENT] * (2 * workers + 1)
        try:
            shared = get_context("spawn").RawArray("l", len(self._counts))
        except OSError as error:  # nowhere to put it; each worker has a list of its own, and stands back for nobody
            log.warning("workers cannot see each other's connections", reason=error.strerror)
            return
        shared[:] = self._counts
        self._counts = shared

    def new(self, taken: Collection[int]) -> Share:
        """A place that nobody has, or that of one that drains: it does not write any more."""
        places = range(len(self._counts))
        absent = [place for place in places if self._counts[place] == _ABSENT]
        free = next((place for place in absent if place not in taken), absent[0] if absent else 0)
        return Share(self._counts, free)


class Acceptor:
    """Accepts connections on the sockets for one worker of several."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], Handshake],
        share: Share,
        count: Callable[[], int],
    ) -> None:
        """`count` says how many connections are open. Raises OSError where a socket cannot be watched."""
        self._loop = loop
        self._sockets = sockets
        self._protocol = protocol
        self._share = share
        self._count = count
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._beginning: set[asyncio.Task[None]] = set()
        self._share.say(count())
        for sock in sockets:
            sock.setblocking(False)
            loop.add_reader(sock, self._arrived, sock)

    def close(self) -> None:
        """Accept no more; what the kernel holds is the other workers'."""
        self._share.leave()
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        for pause in self._pauses.values():
            pause.cancel()

    async def settled(self) -> None:
        """Wait until each connection that was accepted is known to its Handshake."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _arrived(self, sock: socket.socket) -> None:
        self._share.say(self._count() + len(self._beginning))
        if self._share.is_busiest:
            self._pause(sock, STAND_BACK)
        else:
            self._accept(sock)

    def _pause(self, sock: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(sock)
        self._pauses[sock] = self._loop.call_later(seconds, self._go_on, sock)

    def _go_on(self, sock: socket.socket) -> None:
        del self._pauses[sock]
        self._loop.add_reader(sock, self._arrived, sock)
        for _ in range(_AT_ONCE):
            if not self._accept(sock):
                break

    def _accept(self, sock: socket.socket) -> bool:
        """Take one connection, where one is there; return whether another may be."""
        try:
            accepted, _ = sock.accept()
        except (BlockingIOError, InterruptedError):  # another worker was there first
            return False
        except ConnectionError:  # the client has gone again
            return True
        except OSError as error:
            log.error("no connection can be accepted", reason=error.strerror, again_in=_RECOVERY)  # noqa: TRY400
            self._pause(sock, _RECOVERY)
            return False
        task = self._loop.create_task(self._begin(accepted))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:  # it has gone again
            accepted.close()
