"""Many requests over many HTTP/2 connections and streams, as cheaply as Python can: the answers are counted, not read.

The client honours GOAWAY as RFC 9113 section 6.8 asks: it opens no more streams, waits for those up to the
last-stream-id, and sends again those above it, on a new connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpack import Encoder
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from tests.support.wire import INITIAL_WINDOW_SIZE, LARGEST_WINDOW, PREFACE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK, _END_STREAM = 1, 1
_STATUS_200 = 0x88
"""The first byte of a header block that begins with `:status: 200` (RFC 7541 appendix A, index 8)."""


@dataclass(slots=True)
class Tally:
    """What has become of the requests so far. `refused` were sent again; `failed` were lost, or not answered by 200."""

    answered: int = 0
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    connections: int = 0
    turned_away: int = 0
    """Connections that were not accepted."""


class _Connection:
    """One connection, until the server or the work ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, tally: Tally) -> None:
        self._reader, self._writer, self._tally = reader, writer, tally
        encoder = Encoder()
        usual = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        first, self._block = (encoder.encode(usual) for _ in range(2))  # the second one refers to the table
        opening = [
            SettingsFrame(0, {INITIAL_WINDOW_SIZE: LARGEST_WINDOW}),
            WindowUpdateFrame(0, LARGEST_WINDOW - 65_535),
        ]
        writer.write(PREFACE + b"".join(frame.serialize() for frame in opening))
        self._first: bytes | None = first
        self._next = 1
        self._open: set[int] = set()
        self._bad: set[int] = set()
        self._leaving = False

    async def work(self, todo: deque[None], streams: int) -> None:
        """Answer for what is to do, `streams` requests at a time. Returns when there is no more, or at GOAWAY."""
        try:
            self._fill(todo, streams)
            while self._open:
                head = await self._reader.readexactly(9)
                length = int.from_bytes(head[:3], "big")
                payload = await self._reader.readexactly(length) if length else b""
                self._take(head[3], head[4], int.from_bytes(head[5:], "big") & LARGEST_WINDOW, payload, todo)
                if not self._reader._buffer:  # all that came is handled: one write for what is next
                    self._fill(todo, streams)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._tally.failed += [f"lost: {error!r}"] * len(self._open)
        finally:
            self._writer.transport.abort()
            with suppress(OSError):
                await self._writer.wait_closed()

    def _fill(self, todo: deque[None], streams: int) -> None:
        out = bytearray()
        while todo and len(self._open) < streams and not self._leaving:
            todo.popleft()
            block, self._first = self._first or self._block, None
            out += len(block).to_bytes(3, "big") + b"\x01\x05" + self._next.to_bytes(4, "big") + block
            self._open.add(self._next)
            self._next += 2
        if out:
            self._writer.write(bytes(out))

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, todo: deque[None]) -> None:
        if kind in (_DATA, _HEADERS):
            if kind == _HEADERS and payload.lstrip(b"\x20\x3f\xe1\x1f")[0] != _STATUS_200:
                self._bad.add(stream)
            if flags & _END_STREAM:
                self._open.remove(stream)
                if stream in self._bad:
                    self._tally.failed.append("not 200")
                else:
                    self._tally.answered += 1
        elif kind == _RST_STREAM:
            self._open.remove(stream)
            self._tally.failed.append(f"reset {int.from_bytes(payload, 'big')}")
        elif kind == _GOAWAY:
            self._leaving = True
            last = int.from_bytes(payload[:4], "big") & LARGEST_WINDOW
            above = {number for number in self._open if number > last}
            self._open -= above
            self._tally.refused += len(above)
            todo.extend([None] * len(above))
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._writer.write(len(payload if kind == _PING else b"").to_bytes(3, "big"))
            self._writer.write(bytes([kind, _ACK, 0, 0, 0, 0]) + (payload if kind == _PING else b""))


async def hammer(
    port: Callable[[], int],
    context: Callable[[], ssl.SSLContext],
    tally: Tally,
    *,
    total: int,
    connections: int = 1,
    streams: int = 20,
    path: str = "/",
    share: int | None = None,
) -> None:
    """Send `total` requests over `connections` connections at once; `share` is how many one connection takes."""
    todo: deque[None] = deque([None] * total)

    async def client() -> None:
        while todo:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port(), ssl=context(), server_hostname="localhost"
                )
            except OSError as error:  # nothing was sent yet: to try again, elsewhere perhaps, is safe
                tally.turned_away += 1
                if tally.turned_away > 100:
                    tally.failed.append(f"no connection: {error!r}")
                    return
                await asyncio.sleep(0.01)
                continue
            tally.connections += 1
            mine = todo if share is None else deque(todo.popleft() for _ in range(min(share, len(todo))))
            await _Connection(reader, writer, path, tally).work(mine, streams)
            if share is not None:
                todo.extend(mine)

    await asyncio.gather(*(client() for _ in range(connections)))
