"""One connection's bytes, parsed a turn at a time: a flood of requests in a few kilobytes holds nobody else up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.transport.limits import SLICE, SMALLEST_SLICE, TURN

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Intake:
    """Takes bytes, and gives them to `parse` in slices, for TURN seconds; then `go_on` is called, in a later turn.

    `parse` returns whether more is wanted; where not, what is left waits for `resume`. It may raise: what is left is
    then left.
    """

    __slots__ = ("_backlog", "_go_on", "_held", "_loop", "_parse", "_scheduled", "_slice")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, parse: Callable[[bytes], bool], go_on: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._parse = parse
        self._go_on = go_on
        self._backlog = b""
        self._scheduled = False
        self._held = False
        self._slice = 4 * SMALLEST_SLICE

    @property
    def is_behind(self) -> bool:
        """Whether there is more than one turn was long enough for."""
        return self._scheduled

    @property
    def waiting(self) -> int:
        """Bytes that were taken and not yet parsed."""
        return len(self._backlog)

    def resume(self) -> None:
        """More is wanted again."""
        self._held = False
        self.take(b"")

    def take(self, data: bytes) -> None:
        """Parse these bytes behind those that wait; what does not fit into a turn waits for the next."""
        if self._scheduled or self._held:
            self._backlog += data
            return
        if self._backlog:
            data, self._backlog = self._backlog + data, b""
        clock = self._loop.time
        until, start = clock() + TURN, 0
        while start < len(data):
            end, since = start + self._slice, clock()
            if not self._parse(data[start:end] if start or end < len(data) else data):
                self._held, self._backlog = True, data[end:]
                return
            start, now = end, clock()
            if now - since > TURN / 4:
                self._slice = max(self._slice // 2, SMALLEST_SLICE)
            else:
                self._slice = min(self._slice * 2, SLICE)
            if start < len(data) and now > until:
                self._backlog, self._scheduled = data[start:], True
                # Work that takes long for its bytes leaves the others three quarters of the time.
                self._loop.call_later(0.0 if self._slice == SLICE else 3 * TURN, self._next_turn)
                return

    def _next_turn(self) -> None:
        self._scheduled = False
        self._go_on()
