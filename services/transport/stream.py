"""The outbound half of a stream: what the application has said and the peer has not yet taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from services.transport.carrier import Carrier
    from services.transport.head import Fields, Head

HIGH_WATER = 65_536
"""Bytes that wait on one stream from which its application waits, until half of them are gone."""


class Stream(ABC):
    """One stream as its carrier sees it: headers, then data, then perhaps trailers, sent as windows allow.

    Subclasses are the inbound half: what becomes of the peer's data, and of its end.
    """

    __slots__ = (
        "_drained",
        "_moved",
        "answered",
        "carrier",
        "closed",
        "credit",
        "ended",
        "headers",
        "id",
        "patience",
        "pending",
        "pending_size",
        "request_ended",
        "trailers",
    )

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        self.carrier = carrier
        self.id = stream_id
        self.headers: Fields | None = None
        """To be sent next; None before the application has answered, and again once they are sent."""
        self.pending: deque[bytes | memoryview] = deque()
        self.pending_size = 0
        self.trailers: Fields | None = None
        self.ended = False
        """The application has said all it had to say."""
        self.answered = False
        """The end of the response is sent: END_STREAM, in HTTP/2."""
        self.request_ended = False
        self.closed = False
        """The stream is gone: reset by either side, or its connection is."""
        self.credit = 0
        """Bytes that were read and that the peer does not yet know it may send again."""
        self.patience: asyncio.TimerHandle | None = None
        """Runs while the rest of a request is thrown away whose answer is complete."""
        self._drained: list[asyncio.Future[None]] = []
        self._moved: tuple[int, float] = 0, 0.0

    # What the application's side calls.

    def say(self, data: bytes) -> None:
        """Add data behind what waits."""
        if data:
            self.pending.append(data)
            self.pending_size += len(data)
        self.carrier.schedule(self)

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        self.carrier.schedule(self)

    async def drain(self) -> None:
        """Wait until the peer has taken enough, or the stream is gone."""
        while self.pending_size >= HIGH_WATER and not self.closed:
            waiter = self.carrier.loop.create_future()
            self._drained.append(waiter)
            await waiter

    # What the connection calls.

    def take(self, limit: int) -> bytes | memoryview:
        """Take up to `limit` bytes off the front of what waits, without copying a large piece."""
        first = self.pending.popleft()
        size = len(first)
        if size > limit:
            view = memoryview(first)
            self.pending.appendleft(view[limit:])
            first, size = view[:limit], limit
        elif size < limit and self.pending:
            parts = [first]
            while self.pending and size + len(self.pending[0]) <= limit:
                parts.append(self.pending.popleft())
                size += len(parts[-1])
            if len(parts) > 1:
                first = b"".join(parts)
        self.pending_size -= size
        self._moved = 0, 0.0
        if self._drained and self.pending_size <= HIGH_WATER // 2:
            self._wake()
        return first

    def is_stalled(self, now: float, since: float) -> bool:
        """Whether the peer has taken nothing of what waits since that moment; to be asked from time to time."""
        size, seen = self._moved
        if not self.pending_size or self.pending_size != size:
            self._moved = self.pending_size, now
            return False
        return seen <= since

    def close(self) -> None:
        """The stream is gone. What waits will not be sent; who waits is told."""
        self.closed = True
        self.give_up_patience()
        self.pending.clear()
        self.pending_size = 0
        self._wake()
        self.disconnected()

    def give_up_patience(self) -> None:
        """The request has ended, or the stream: nothing is waited for."""
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def _wake(self) -> None:
        for waiter in self._drained:
            if not waiter.done():
                waiter.set_result(None)
        self._drained.clear()

    # The inbound half.

    @abstractmethod
    def begin(self, head: Head) -> None:
        """Take the request's head, and start the application."""

    @abstractmethod
    def data(self, data: bytes) -> None:
        """Take the peer's data. Who has read it calls `carrier.read(stream, size)`, and the peer may send more."""

    @abstractmethod
    def cut(self) -> None:
        """Nobody vouches for the caller any more: say so where nothing was said yet. The connection ends next."""

    @abstractmethod
    def request_end(self) -> None:
        """The peer has said all it had to say."""

    @abstractmethod
    def disconnected(self) -> None:
        """Nobody listens any more: the response is complete, the stream was reset or the connection is gone."""
