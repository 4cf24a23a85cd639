"""HTTP/2 over the h2 library: frames to streams and back, flow control, and an end that loses nothing.

In the place of Hypercorn's H2Protocol, which ends a connection and its streams after 1,000 requests, runs a task and a
priority tree a connection (RFC 9113 section 5.3.2 deprecates priorities) and writes three times a response. Here there
is no task: events of the socket go down as calls, and what the streams of one turn of the event loop have to say leaves
in one write.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import h2.events as events
import structlog
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from services.transport import limits
from services.transport.exchange import Exchange
from services.transport.fields import sendable
from services.transport.h2_connection import EVERY_STREAM, ServerConnection
from services.transport.h2_sending import Sending
from services.transport.intake import Intake
from services.transport.tasks import PeerTasks
from services.transport.websocket import WebSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.transport.connection import Connection
    from services.transport.head import Fields
    from services.transport.listener import Listener
    from services.transport.stream import Stream

log = structlog.get_logger("handclasp.transport")


class HTTP2(Sending):
    """One HTTP/2 connection of one verified peer."""

    def __init__(self, connection: Connection, listener: Listener, server: tuple[str, int] | None) -> None:
        self.connection = connection
        self.listener = listener
        self.loop = listener.loop
        self.server = server
        self.tasks = PeerTasks(connection, listener)
        self.running = 0
        """Applications at work, on streams that were reset too: what MAX_CONCURRENT_STREAMS does not bound."""
        self._max_streams = listener.config.h2_max_concurrent_streams
        self._h2 = ServerConnection(
            max_streams=self._max_streams,
            max_header_list_size=listener.config.h2_max_header_list_size,
            stream_window=limits.STREAM_WINDOW,
            max_continuations=listener.limits.max_continuations,
        )
        self._streams: dict[int, Stream] = {}
        self._ready: dict[int, Stream] = {}  # in the order in which they asked: nobody overtakes
        self._credit = 0
        self._scheduled = False
        self._closed = False
        self._draining = False
        self._goaway_seen = False
        self._reading_paused = False
        self._intake = Intake(listener.loop, self._parse, self._go_on)
        self._refused = False
        self._resets, self._controls = self._allowance = listener.allowances.of(connection.peer, self.loop.time())
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(limits.CONNECTION_WINDOW - 65_535)
        self._flush()

    # What the connection calls.

    def received(self, data: bytes) -> None:
        try:
            self._intake.take(data)
        except ProtocolError as error:
            self._fail(error)
            return
        except Exception:
            log.exception("HTTP/2 connection failed", identity=self.connection.peer.identity.name)
            self._end(ErrorCodes.INTERNAL_ERROR)
            return
        self._schedule()
        self._read_on_or_hold()

    def _parse(self, data: bytes) -> bool:
        for event in [] if self._closed else self._h2.receive_data(data):
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(self, event)
                if self._closed:
                    break
        return not self._closed

    def _read_on_or_hold(self) -> None:
        """Read from the client only while what it has sent is worked off, and what it is owed is taken."""
        hold = not self._closed and (self._intake.is_behind or self.connection.unsent >= limits.OUTBOUND_LIMIT)
        if hold != self._reading_paused:
            self._reading_paused = hold
            (self.connection.pause_reading if hold else self.connection.resume_reading)()

    def _go_on(self) -> None:
        if not self._closed:
            self.received(b"")

    def writable(self) -> None:
        self._read_on_or_hold()
        self._schedule()

    def shut_down(self, *, late: bool) -> None:  # noqa: ARG002 - a GOAWAY tells what is on its way from what is not
        """Ask the client to open no more streams; close when it has heard and the last stream has ended."""
        if self._draining or self._closed:
            return
        self._draining = True
        # First a GOAWAY that refuses nothing: requests may be on their way. The PING comes back when the client has
        # read it; what it opened until then is served (RFC 9113 section 6.8).
        self._h2.goaway(EVERY_STREAM)
        self._h2.ping(limits.DRAIN_PING)
        self._schedule()
        self.loop.call_later(limits.DRAIN_PATIENCE, self._goaway_read)
        for stream in self._streams.values():
            if isinstance(stream, WebSocketStream):
                stream.go_away()

    def cut(self) -> None:
        for stream in list(self._streams.values()):
            stream.cut()
        self.loop.call_soon(self._end_cut)  # behind what the streams have to say

    def _end_cut(self) -> None:
        if self._closed:
            return
        # The last words, though a client that is busy reading has not made room for them; not the rest of a download.
        self._ready = {stream.id: stream for stream in self._ready.values() if stream.pending_size < limits.LAST_WORDS}
        self._flush(urgent=True)
        self.finish()

    def find_stalled(self, since: float) -> str | None:
        now = self.loop.time()
        stalled = [stream.is_stalled(now, since) for stream in self._streams.values()]
        return "a stream's window has stayed closed" if any(stalled) else None

    def finish(self) -> None:
        if not self._closed:
            self._end(ErrorCodes.NO_ERROR)

    def lost(self) -> None:
        if not self._closed:
            self.listener.allowances.remember(self.connection.peer, self._allowance, self.loop.time())
        self._closed = True
        streams = list(self._streams.values())
        self._streams.clear()
        self._ready.clear()
        for stream in streams:
            stream.close()

    # What the streams call.

    def read(self, stream: Stream, size: int) -> None:
        """`size` bytes of the stream were read: the client may send as many again."""
        stream.credit += size
        if stream.credit >= limits.STREAM_WINDOW // 2 and not stream.request_ended and not stream.closed:
            self._h2.give_back(stream.credit, stream.id)
            stream.credit = 0
            self._schedule()

    def inform(self, stream: Stream, headers: Fields) -> None:
        """Send an informational response (RFC 9110 section 15.2) ahead of the final one."""
        if not stream.closed and not self._closed:
            with suppress(StreamClosedError):
                self._h2.send_headers(stream.id, headers)
            self._schedule()

    def reset(self, stream: Stream, error: ErrorCodes) -> None:
        """End a stream that cannot be answered as it should be: the client must not take it for whole."""
        if not stream.closed and not self._closed:
            with suppress(StreamClosedError):
                self._h2.reset_stream(stream.id, error)
            self._forget(stream)
            stream.close()
            self._schedule()

    def sendable(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        """Header fields of a response, as HTTP/2 has them."""
        return sendable(fields)

    # Events of h2.

    def _request(self, event: Any) -> None:
        if len(self._streams) >= self._max_streams or self.running >= 2 * self._max_streams:
            # Refused before any processing: safe to send again (RFC 9113 section 8.7).
            with suppress(StreamClosedError):
                self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            if not self._refused:  # said once a connection: a client that asks for more cannot fill the log
                self._refused = True
                self.connection.limit_broken("too many requests at once", "REFUSED_STREAM")
            self._count_reset()
            return
        head = event.headers.head()
        self.connection.set_idle(False)
        self._controls.earn()
        kind = WebSocketStream if head.method == b"CONNECT" else Exchange
        stream = self._streams[event.stream_id] = kind(self, event.stream_id)
        stream.request_ended = event.stream_ended is not None
        stream.begin(head)

    def _data(self, event: Any) -> None:
        if not event.data and event.stream_ended is None:
            self._control(event)
            if self._closed:
                return
        self._credit += event.flow_controlled_length
        if self._credit >= limits.CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._credit)
            self._credit = 0
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if stream.answered:  # an answer came before the request was whole: count, and throw away
            self.read(stream, event.flow_controlled_length)
        else:
            padding = event.flow_controlled_length - len(event.data)
            if padding:
                self.read(stream, padding)
            stream.data(event.data)

    def _stream_ended(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.request_ended = True
            if stream.answered:
                self._forget(stream)
            else:
                stream.request_end()

    def _stream_reset(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._forget(stream)
            if isinstance(stream, Exchange):
                stream.withdraw()
            stream.close()
        self._count_reset()

    def _count_reset(self) -> None:
        if not self._resets.spend(self.loop.time()):
            self.calm_down("streams reset too fast")

    def _control(self, event: Any) -> None:
        if not self._controls.spend(self.loop.time()):
            self.calm_down(f"too many frames of no use: {type(event).__name__}")

    def calm_down(self, reason: str) -> None:
        self.connection.limit_broken(reason)
        self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def _window_updated(self, event: Any) -> None:
        if event.stream_id:
            stream = self._streams.get(event.stream_id)
            if stream is not None and stream.pending:
                self._ready[stream.id] = stream
        else:
            self._all_ready()

    def _settings_changed(self, event: Any) -> None:
        self._control(event)
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._all_ready()

    def _all_ready(self) -> None:
        self._ready.update({stream.id: stream for stream in self._streams.values() if stream.pending})

    def _ping_acknowledged(self, event: Any) -> None:
        if event.ping_data == limits.DRAIN_PING:
            self._goaway_read()

    def _terminated(self, _: Any) -> None:
        self._draining = self._goaway_seen = True  # the client itself opens no more
        self._end_if_drained()

    # Ends.

    def _forget(self, stream: Stream) -> None:
        stream.give_up_patience()
        self._streams.pop(stream.id, None)
        self._ready.pop(stream.id, None)
        if not self._streams:
            self.connection.set_idle(True)
            self._end_if_drained()

    def _goaway_read(self) -> None:
        self._goaway_seen = True
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self._draining and self._goaway_seen and not self._streams and not self._closed:
            self._end(ErrorCodes.NO_ERROR)

    def _end(self, error: ErrorCodes) -> None:
        """The final GOAWAY: streams up to the last that was seen were, or would have been, processed."""
        self._h2.goaway(self._h2.highest_inbound_stream_id, error)
        self._flush()
        self._finish()

    def _fail(self, error: ProtocolError) -> None:
        """The client broke the protocol: h2 has its GOAWAY ready, and takes no other call any more."""
        if error.error_code is ErrorCodes.ENHANCE_YOUR_CALM:
            self.connection.limit_broken(str(error))
        else:
            reason = f"{type(error).__name__}: {error}"
            log.info("HTTP/2 protocol error", reason=reason, identity=self.connection.peer.identity.name)
        self._ready.clear()
        self._flush()
        self._finish()

    def _finish(self) -> None:
        self.lost()
        self.connection.close()

    _handlers: ClassVar[dict[type[events.Event], Callable[[HTTP2, Any], None]]] = {
        events.RequestReceived: _request,
        events.DataReceived: _data,
        events.StreamEnded: _stream_ended,
        events.StreamReset: _stream_reset,
        events.WindowUpdated: _window_updated,
        events.RemoteSettingsChanged: _settings_changed,
        events.PingReceived: _control,
        events.PriorityUpdated: _control,
        events.UnknownFrameReceived: _control,
        events.PingAckReceived: _ping_acknowledged,
        events.ConnectionTerminated: _terminated,
    }
