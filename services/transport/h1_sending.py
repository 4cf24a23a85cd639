"""What the stream of an HTTP/1.1 connection has to say, by h11: what a turn of the event loop has, in one piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING

import h11
import structlog

from services.transport import limits
from services.transport.h1_repeats import response_head

if TYPE_CHECKING:
    import asyncio

    from services.transport.connection import Connection
    from services.transport.head import Fields
    from services.transport.stream import Stream

log = structlog.get_logger("handclasp.transport")

CLOSE = (b"connection", b"close")
END = h11.EndOfMessage()


class Sending(ABC):
    """The outbound half of an HTTP/1.1 connection. `HTTP1` is the inbound half, and makes what is declared here."""

    connection: Connection
    loop: asyncio.AbstractEventLoop
    _h11: h11.Connection
    _stream: Stream | None
    _unheard: bytes
    """The request that is being answered, where h11 knows nothing of it."""
    _scheduled: bool
    _leaving: bool
    """The next response is the last: it says so."""
    _closed: bool

    def schedule(self, stream: Stream) -> None:
        """The stream has something to say: at the end of this turn of the event loop, in one piece."""
        if not self._scheduled and not self._closed and not stream.closed:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self, *, urgent: bool = False) -> None:
        self._scheduled = False
        stream = self._stream
        if stream is None or self._closed:
            return
        try:
            whole = self._say(stream, urgent=urgent)
        except h11.LocalProtocolError as error:  # more than was announced, or less
            log.warning("response refused", reason=str(error), identity=self.connection.peer.identity.name)
            self._closed = True
            self.connection.cut_short()
            return
        if whole:
            self._answered(stream)

    def _say(self, stream: Stream, *, urgent: bool) -> bool:
        """Send what the stream has to say, as far as the peer takes it; return whether that was all."""
        if self._unheard:
            if (whole := self._known_response(stream)) is not None:
                self._unheard = b""
                self.connection.send(whole)
                return True
            self._catch_up()
        said: list[bytes | memoryview] = []
        gathered = 0
        if stream.headers is not None:
            headers, stream.headers = stream.headers, None
            said.append(self._response(stream, headers))
        while stream.pending and (urgent or not self.connection.writing_paused):
            data = stream.take(limits.WRITE)
            if said and gathered + len(data) > limits.WRITE:  # more at once is encrypted and sent from slower caches
                self.connection.send(*said)
                said.clear()
                gathered = 0
            gathered += len(data)
            if self._h11.our_state is h11.SWITCHED_PROTOCOL:
                said.append(data)
            else:
                said += self._h11.send_with_data_passthrough(h11.Data(data=data)) or ()  # type: ignore[arg-type]
        ended = stream.ended and not stream.pending
        if ended and self._h11.our_state is not h11.SWITCHED_PROTOCOL:
            said.append(self._sent(END))
        if said:
            self.connection.send(*said)
        return ended

    def _known_response(self, stream: Stream) -> bytes | None:
        """A response that is there as a whole, and whose like was sent before."""
        if stream.headers is None or not stream.ended or self._leaving or stream.pending_size > limits.WRITE:
            return None
        (_, status), *fields = stream.headers
        head = response_head(status, tuple(fields), stream.pending_size)
        if head is None:
            return None
        stream.headers = None
        return head + stream.take(limits.WRITE) if stream.pending else head

    def _response(self, stream: Stream, headers: Fields) -> bytes:
        (_, status), *fields = headers
        if status == b"101":
            return self._sent(h11.InformationalResponse(status_code=101, headers=fields))
        if self._leaving or (self._h11.their_state is h11.SEND_BODY and not stream.request_ended):
            # Answered before the request was whole: the connection ends behind it, and its client has to know
            # (RFC 9112 section 9.6), lest it sends the next request on it.
            fields.append(CLOSE)
        return self._sent(_response(int(status), tuple(fields)))

    def _sent(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""

    def _catch_up(self) -> None:
        """Let h11 hear of the request that is being answered without it: there is more to it than was thought."""
        if self._unheard:
            self._h11.receive_data(self._unheard)
            self._unheard = b""
            self._h11.next_event()
            self._h11.next_event()

    @abstractmethod
    def _answered(self, stream: Stream) -> None:
        """All of the response is sent."""


@lru_cache(maxsize=64)
def _response(status: int, fields: tuple[tuple[bytes, bytes], ...]) -> h11.Response:
    """h11 checks what is sent, once for what is sent over and over."""
    return h11.Response(status_code=status, headers=list(fields))
