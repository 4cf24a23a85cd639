"""Messages in a stream of bytes: a flag, a length of four bytes, the message. The same in gRPC and in Connect."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from clients.errors import RPCError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPRESSED, LAST = 0x01, 0x02
"""Flags. LAST is Connect's: what follows is JSON, and how the stream has ended."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one message that is read."""

_HEAD = struct.Struct(">BI")


def framed(message: bytes) -> bytes:
    """The message as it is sent."""
    return _HEAD.pack(0, len(message)) + message


class Frames:
    """Takes bytes as they come, and gives whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Flag and message of each that is whole now. Raises RPCError for one that is too large or compressed."""
        self._bytes += data
        start = 0
        while len(self._bytes) - start >= _HEAD.size:
            flags, length = _HEAD.unpack_from(self._bytes, start)
            if length > MAX_MESSAGE:
                raise RPCError(f"a message of {length:,} bytes: {MAX_MESSAGE:,} are read", code="resource_exhausted")
            if flags & COMPRESSED:
                raise RPCError("the server has compressed a message, which was not offered", code="internal")
            end = start + _HEAD.size + length
            if len(self._bytes) < end:
                break
            yield flags, bytes(self._bytes[start + _HEAD.size : end])
            start = end
        del self._bytes[:start]

    def check_whole(self) -> None:
        """Raise RPCError where the stream has ended within a message."""
        if self._bytes:
            raise RPCError("the stream ended within a message", code="unavailable")
