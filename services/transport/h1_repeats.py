"""HTTP/1.1 requests and responses that repeat: the same bytes mean the same, and h11 need not say so again.

A client that asks again sends the same head, byte for byte, and is answered with the same head. Where the request has
no body and the response is there as a whole, the two leave h11's state as they found it: ready for the next request. So
what h11 made of them the first time holds, and h11 is not asked. Whatever is not as simple as that is h11's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    from services.transport.head import Head

_MOST = 4
"""Heads of requests that a connection remembers."""

_LARGEST = 1_024
"""Bytes of a head that is remembered."""

_ANY = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
_FRAMING = {b"content-length", b"transfer-encoding", b"upgrade", b"expect"}


class Requests:
    """The requests of one connection that are known by their bytes."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def get(self, received: bytes) -> Head | None:
        """What h11 has made of these bytes, where they were one whole request without a body."""
        return self._known.get(received)

    def remember(self, received: bytes, head: Head) -> None:
        """These bytes were the whole of this request, and h11 has found no fault in them."""
        if len(received) > _LARGEST or head.version != "1.1" or head.method in (b"HEAD", b"CONNECT"):
            return
        for name, value in head.fields:
            if name in _FRAMING or (name == b"connection" and value.lower() != b"keep-alive"):
                return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[received] = head


@lru_cache(maxsize=64)
def response_head(status: bytes, fields: tuple[tuple[bytes, bytes], ...], size: int) -> bytes | None:
    """The head of a whole response with a body of `size` bytes, as h11 writes it; None where that is not all there is.

    None as well for what h11 refuses, frames in chunks, or ends the connection behind: it has to hear of that itself.
    """
    if not any(name == b"content-length" for name, _ in fields) or status in (b"204", b"304"):
        return None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(_ANY)
    connection.next_event()
    connection.next_event()
    try:
        head = connection.send(h11.Response(status_code=int(status), headers=list(fields)))
        if connection.send(h11.Data(data=bytes(size))) != bytes(size):
            return None
        connection.send(h11.EndOfMessage())
    except h11.LocalProtocolError:
        return None
    return head if connection.our_state is h11.DONE else None
