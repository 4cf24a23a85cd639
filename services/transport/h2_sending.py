"""What the streams of an HTTP/2 connection have to say, as frames: all of one turn of the event loop in one write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import structlog
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError

from services.transport import limits

if TYPE_CHECKING:
    import asyncio

    from services.transport.budget import Budget
    from services.transport.connection import Connection
    from services.transport.h2_connection import ServerConnection
    from services.transport.stream import Stream

log = structlog.get_logger("handclasp.transport")


class Sending(ABC):
    """The outbound half of an HTTP/2 connection. `HTTP2` is the inbound half, and makes what is declared here."""

    connection: Connection
    loop: asyncio.AbstractEventLoop
    _h2: ServerConnection
    _ready: dict[int, Stream]
    """In the order in which they asked: nobody overtakes."""
    _controls: Budget
    _scheduled: bool
    _closed: bool

    def schedule(self, stream: Stream) -> None:
        """The stream has something to say: at the end of this turn of the event loop, together with the others."""
        if not stream.closed:
            self._ready[stream.id] = stream
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self, *, urgent: bool = False) -> None:
        self._scheduled = False
        if self._closed:
            return
        connection, frames = self.connection, self._h2
        while self._ready and (urgent or not connection.writing_paused):
            gathered = 0
            while self._ready and gathered < limits.WRITE:
                for stream in list(self._ready.values()):  # a frame each, in turn; who is alone, all that fits
                    try:
                        gathered += self._advance(stream)
                    except StreamClosedError:  # h2 knows of a reset whose event is still to come
                        self._ready.pop(stream.id, None)
                    except ProtocolError:  # what one stream has to say is not to be said: the others go on
                        log.exception("response refused", identity=connection.peer.identity.name)
                        self._ready.pop(stream.id, None)
                        self.reset(stream, ErrorCodes.INTERNAL_ERROR)
            connection.send(frames.take_output())
        data = frames.take_output()
        if data:
            connection.send(data)

    def _advance(self, stream: Stream) -> int:
        """Send the next of what a stream has to say. Returns about how many bytes that were.

        A stream that waits for a window, or for its application, is no longer ready.
        """
        frames, sent = self._h2, 64
        self._controls.earn()  # gRPC measures the bandwidth by a PING for the DATA that it gets: no flood
        if stream.headers is not None:
            headers, stream.headers = stream.headers, None
            last = stream.ended and not stream.pending and stream.trailers is None
            frames.send_headers(stream.id, headers, end_stream=last)
            if last:
                self._answered(stream)
                return sent
        if stream.pending:
            turn = limits.WRITE if len(self._ready) == 1 else frames.max_outbound_frame_size
            window = min(frames.local_flow_control_window(stream.id), turn)
            if window <= 0:
                del self._ready[stream.id]
                return sent
            data = stream.take(window)
            sent += len(data)
            last = stream.ended and not stream.pending and stream.trailers is None
            for _ in range(1, frames.send_body(stream.id, data, end_stream=last)):
                self._controls.earn()
        elif stream.ended:
            last = True
            if stream.trailers is not None:
                frames.send_headers(stream.id, stream.trailers, end_stream=True)
            else:
                frames.end_stream(stream.id)
        else:
            last = False
        if last:
            self._answered(stream)
        elif not stream.pending and not stream.ended:
            del self._ready[stream.id]
        return sent

    def _answered(self, stream: Stream) -> None:
        stream.answered = True
        self._ready.pop(stream.id, None)
        if stream.request_ended:
            self._forget(stream)
        else:
            stream.patience = self.loop.call_later(limits.UPLOAD_PATIENCE, self.reset, stream, ErrorCodes.NO_ERROR)
        stream.disconnected()

    @abstractmethod
    def reset(self, stream: Stream, error: ErrorCodes) -> None:
        """End a stream that cannot be answered as it should be: the client must not take it for whole."""

    @abstractmethod
    def _forget(self, stream: Stream) -> None:
        """Both sides have said all they had to say on it."""
