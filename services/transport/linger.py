"""The end of a connection: all is said, and what still comes is thrown away until the peer has taken our last bytes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.transport.listener import Listener

_LINGER = 2.0
"""Seconds that a closed connection goes on reading, to throw away: closing a socket with unread input makes the kernel
send a reset, and the reset overtakes the alert or the response that was sent last."""

_STALL = 30.0
"""Seconds without a byte taken by a peer that we have closed on and still owe bytes, before it is cut off."""


class Linger(asyncio.Protocol):
    """Takes a transport over from whoever has said the last word on it, and closes it when the peer has heard that."""

    __slots__ = ("_listener", "_progress", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, listener: Listener) -> None:
        self._transport = transport
        self._listener = listener
        transport.set_protocol(self)
        transport.resume_reading()
        if transport.can_write_eof():
            with suppress(OSError):  # asyncio's own loop shuts the socket down at once, and the peer may have reset it
                transport.write_eof()
        self._progress = self._unsent, listener.loop.time()
        self._timer = listener.loop.call_later(_LINGER, self._look)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        pass

    def eof_received(self) -> bool:
        return False  # asyncio closes the transport

    def connection_lost(self, _: Exception | None) -> None:
        self._timer.cancel()
        self._listener.remove(self)

    # What the worker calls.

    def judge(self) -> None:
        """Trust has changed: all is said here already."""

    def shut_down(self) -> None:
        """It is ending already."""

    def finish(self) -> None:
        """There is no more time."""
        self._transport.abort()

    def _look(self) -> None:
        unsent, now = self._unsent, self._listener.loop.time()
        before, since = self._progress
        if unsent < before:  # a slow reader, not a dead one
            self._progress = unsent, now
        elif unsent == 0 or now - since >= _STALL:
            self._transport.abort()
            return
        self._timer = self._listener.loop.call_later(_LINGER, self._look)

    @property
    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size()
