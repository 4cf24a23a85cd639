"""What carries streams: an HTTP/2 connection many at once, an HTTP/1.1 connection one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from h2.errors import ErrorCodes

    from services.transport.connection import Connection
    from services.transport.head import Fields
    from services.transport.listener import Listener
    from services.transport.stream import Stream
    from services.transport.tasks import PeerTasks


class Carrier(Protocol):
    """What a stream asks of the HTTP version that it is carried by. No method blocks."""

    connection: Connection
    listener: Listener
    loop: asyncio.AbstractEventLoop
    server: tuple[str, int] | None
    tasks: PeerTasks
    running: int
    """Applications at work, on streams that have ended too."""

    def schedule(self, stream: Stream) -> None:
        """The stream has something to say: at the end of this turn of the event loop, together with the others."""

    def read(self, stream: Stream, size: int) -> None:
        """`size` bytes of the stream were read: the client may send as many again."""

    def inform(self, stream: Stream, headers: Fields) -> None:
        """Send an informational response (RFC 9110 section 15.2) ahead of the final one."""

    def reset(self, stream: Stream, error: ErrorCodes) -> None:
        """End a stream that cannot be answered as it should be: the client must not take it for whole."""

    def sendable(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        """The fields of a response, made fit for this version. Raises UnsendableFieldError."""
