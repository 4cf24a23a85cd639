"""HTTP/1.1 over the h11 library: one stream after the other, and WebSockets in the place of the last.

In the place of Hypercorn's H11Protocol, whose coroutines cost a task a connection and a turn of the event loop for each
piece of a request. Here there is no task: events of the socket go down as calls, and what a turn of the event loop has
to say (head, body, end) leaves as one TLS record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import structlog

from services.transport import limits
from services.transport.exchange import Exchange
from services.transport.fields import date, sendable
from services.transport.h1_repeats import Requests
from services.transport.h1_sending import CLOSE, END, Sending
from services.transport.head import Head
from services.transport.intake import Intake
from services.transport.target import TargetError, origin_form
from services.transport.tasks import PeerTasks
from services.transport.websocket import WebSocketStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from h2.errors import ErrorCodes

    from services.transport.connection import Connection
    from services.transport.head import Fields
    from services.transport.listener import Listener
    from services.transport.stream import Stream

log = structlog.get_logger("handclasp.transport")

_INBOUND_HIGH = 65_536
"""Bytes received and not yet taken, by the application or by the parser, from which the socket is read no more."""

_LOOK_FOR_END = 1.0
"""Seconds between two looks whether a client is gone whose socket is not read: its end is behind what was not read."""

_LATE_REQUEST = 1.0
"""Seconds that an idle connection stays open when the process stops: a request may be on its way, and HTTP/1.1 has no
GOAWAY to tell its client that it was not seen. It is answered with `Connection: close`."""

_REFUSALS = {
    400: "malformed request",
    408: "the request's head is too slow",
    421: "not a host that is served here",
    431: "the request's head is too large",
    501: "no proxy",
    503: "too many connections of one identity",
    505: "not HTTP/1.1",
}


class HTTP1(Sending):
    """One HTTP/1.1 connection of one verified peer. h11 checks all that comes in, and all that goes out."""

    def __init__(self, connection: Connection, listener: Listener, server: tuple[str, int] | None) -> None:
        self.connection = connection
        self.listener = listener
        self.loop = listener.loop
        self.server = server
        self.tasks = PeerTasks(connection, listener)
        self.running = 0
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=listener.config.h11_max_incomplete_size)
        self._intake = Intake(listener.loop, self._parse, self._go_on)
        self._stream: Stream | None = None
        self._known = Requests()
        self._heard = b""
        """What h11 hears now, if that may be a whole request."""
        self._unheard = b""
        """The request that is being answered, where h11 knows nothing of it."""
        self._switched = False
        """What comes and goes is a WebSocket's: h11 sees none of it but the answer to the handshake."""
        self._held = False
        """A request is whole and not yet answered, and there is more behind it."""
        self._unread = 0
        self._reading_paused = False
        self._scheduled = False
        self._leaving = False
        """The next response is the last: it says so."""
        self._closed = False
        self._asked: Head | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    # What the connection calls.

    def received(self, data: bytes) -> None:
        try:
            self._intake.take(data)
        except Exception:
            log.exception("HTTP/1.1 connection failed", identity=self.connection.peer.identity.name)
            self.connection.close()
        self._read_on_or_hold()

    def _parse(self, data: bytes) -> bool:
        if self._closed:
            return False
        if self._switched:
            self._body(data)
            return True
        if self._stream is None and (known := self._known.get(data)) is not None and not self._h11.trailing_data[0]:
            self._unheard = data
            self._ask(known, whole=True)
            return True
        self._catch_up()
        self._heard = data if self._stream is None and not self._h11.trailing_data[0] else b""
        self._h11.receive_data(data)
        return self._events()

    def _go_on(self) -> None:
        if not self._closed:
            self.received(b"")

    def _read_on_or_hold(self) -> None:
        """Read from the client only while what it has sent is worked off."""
        behind = self._intake.is_behind or (self._held and self._intake.waiting >= _INBOUND_HIGH)
        hold = not self._closed and (behind or self._unread >= _INBOUND_HIGH)
        if hold == self._reading_paused:
            return
        self._reading_paused = hold
        if hold:
            self.connection.pause_reading()
            self.loop.call_later(_LOOK_FOR_END, self._look_for_end)
        else:
            self.connection.resume_reading()

    def writable(self) -> None:
        if self._stream is not None:
            self.schedule(self._stream)

    def shut_down(self, *, late: bool) -> None:
        self._leaving = True
        if self._stream is None:
            self.loop.call_later(_LATE_REQUEST if late else 0, self._close_if_idle)
        elif isinstance(self._stream, WebSocketStream):
            self._stream.go_away()

    def cut(self) -> None:
        self._leaving = True
        if self._stream is not None:
            self._stream.cut()
        self.loop.call_soon(self._end_cut)  # behind what the stream has to say

    def _end_cut(self) -> None:
        # The last words, though a client that is busy reading has not made room for them; not the rest of a download.
        if self._stream is not None and self._stream.pending_size < limits.LAST_WORDS:
            self._flush(urgent=True)
        self.finish()

    def find_stalled(self, since: float) -> str | None:  # noqa: ARG002
        return None  # there is one stream, and the connection itself sees that nothing of it is taken

    def calm_down(self, reason: str) -> None:
        if self.connection.over_limit:
            return  # 503 answers its first request
        self.connection.limit_broken(reason)
        self.finish()

    def finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._h11.our_state is h11.SEND_BODY:
            # Half a response, perhaps one that only the end of the connection delimits: with a close_notify it would
            # pass for whole (RFC 9112 section 8).
            self.connection.cut_short()
        else:
            self.connection.close()

    def lost(self) -> None:
        self._closed = True
        self._head_is_whole()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    # What the stream calls.

    def read(self, _: Stream, size: int) -> None:
        """`size` bytes of the stream were read: the client may send as many again."""
        self._unread -= size
        if self._reading_paused:
            self._read_on_or_hold()

    def inform(self, _: Stream, headers: Fields) -> None:
        """Send an informational response (RFC 9110 section 15.2) ahead of the final one."""
        if not self._closed:
            self._catch_up()
            status = int(headers[0][1])
            self.connection.send(self._sent(h11.InformationalResponse(status_code=status, headers=headers[1:])))

    def reset(self, _: Stream, error: ErrorCodes) -> None:  # noqa: ARG002 - HTTP/1.1 has no word for it
        """End a response that cannot be whole: without a close_notify, so that nobody takes it for that."""
        self._flush(urgent=True)
        if not self._closed:
            self._closed = True
            self.connection.cut_short()

    def sendable(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        """Header fields of a response: an application may speak of the connection here."""
        return sendable(fields, dropped=frozenset())

    # Events of h11.

    def _events(self) -> bool:
        """Handle what h11 has understood; return whether it wants more."""
        connection = self._h11
        while not self._closed:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return False
            if event is h11.NEED_DATA:
                self._wait_for_head()
                return True
            if isinstance(event, h11.Request):
                self._request(event)
                if self._switched:
                    return True
                if connection.they_are_waiting_for_100_continue and not self._closed:
                    self.connection.send(self._sent(h11.InformationalResponse(status_code=100, headers=[date()])))
            elif event is h11.PAUSED:
                self._held = True
                return False
            elif isinstance(event, h11.Data):
                self._body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._body_ended()
                if not connection.trailing_data[0]:
                    if self._asked is not None and self._heard:
                        self._known.remember(self._heard, self._asked)
                    return True
                self._heard = b""
            else:
                return False
        return False

    def _request(self, event: h11.Request) -> None:
        self._head_is_whole()
        self.connection.set_idle(False)
        target, refused = event.target, None
        fields = [(name.lower(), value) for name, value in event.headers.raw_items()]
        try:
            target, fields = origin_form(target, fields)
        except TargetError as error:
            refused = error.status
        if event.method == b"CONNECT":
            refused = 501
        if event.http_version not in (b"1.0", b"1.1"):
            refused = 505
        if self.connection.over_limit:
            refused = 503
        if refused is not None:
            self._refuse(refused)
            return
        head = Head(event.http_version.decode(), event.method, target, fields)
        names = {name for name, _ in fields}
        self._asked = head
        if b"upgrade" in names and _asks_for_websocket(event):
            self._switched = True
            self._stream = WebSocketStream(self, 1)
            self._stream.begin(head)
            if early := self._h11.trailing_data[0]:
                self._body(early)
        else:
            self._ask(head, whole=names.isdisjoint((b"content-length", b"transfer-encoding")))

    def _ask(self, head: Head, *, whole: bool) -> None:
        """Have the application answer; `whole`: there is no body."""
        self.connection.set_idle(False)
        self._stream = stream = Exchange(self, 1)
        stream.request_ended = whole
        stream.begin(head)
        if stream.ended:  # refused: who asks like this is not asked for more
            self._leaving = True

    def _body(self, data: bytes) -> None:
        stream = self._stream
        if stream is not None and not stream.ended:
            self._unread += len(data)
            stream.data(data)

    def _body_ended(self) -> None:
        stream = self._stream
        if stream is not None and not stream.request_ended:
            stream.request_ended = True
            stream.request_end()

    def _refuse(self, status: int) -> None:
        """Answer what no application hears of, or no more; then the connection ends."""
        self._catch_up()
        self.connection.limit_broken(_REFUSALS.get(status, _REFUSALS[400]), status)
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            fields = [(b"content-length", b"0"), CLOSE, date()]
            head = self._sent(h11.Response(status_code=status, headers=fields))
            self.connection.send(head + self._sent(END))
        self.finish()

    # Time.

    def _wait_for_head(self) -> None:
        if self._stream is None and self._head_timer is None and self._h11.trailing_data[0]:
            self._head_timer = self.loop.call_later(self.listener.limits.header_timeout, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._stream is None and not self._closed:
            self._refuse(408)

    def _head_is_whole(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _look_for_end(self) -> None:
        """What waits behind a whole request is another one. If its client has gone, the first has lost its reader.

        The end is seen as far as it has arrived: TCP keeps it back with what does not fit into our kernel's buffer.
        """
        if not self._reading_paused or not self.connection.is_open:
            return
        if self._held and self.connection.peer_hung_up():
            self.connection.abort()
        else:
            self.loop.call_later(_LOOK_FOR_END, self._look_for_end)

    def _close_if_idle(self) -> None:
        if self._stream is None and not self._intake.waiting:
            self.finish()

    # Ends of a response.

    def _answered(self, stream: Stream) -> None:
        self._stream = None
        stream.answered = True
        stream.disconnected()
        if self._h11.our_state is not h11.IDLE:  # that it is where h11 was not asked
            if self._switched or self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                self.finish()
                return
            self._h11.start_next_cycle()
        self.connection.set_idle(True)
        if self._leaving:  # its response left before the process was asked to stop: it did not say `Connection: close`
            self.loop.call_later(_LATE_REQUEST, self._close_if_idle)
        if self._held:
            self._held = False
            self._take_the_next()

    def _take_the_next(self) -> None:
        try:
            if self._events():
                self._intake.resume()
        except Exception:
            log.exception("HTTP/1.1 connection failed", identity=self.connection.peer.identity.name)
            self.connection.close()
        self._read_on_or_hold()


def _asks_for_websocket(request: h11.Request) -> bool:
    """RFC 6455 section 4.2.1, points 1, 3 and 4: what is missing beyond that is answered by 400."""
    fields = {name: value.lower() for name, value in request.headers if name in (b"connection", b"upgrade")}
    tokens = {token.strip() for token in fields.get(b"connection", b"").split(b",")}
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and b"upgrade" in tokens
        and fields.get(b"upgrade", b"").strip() == b"websocket"
    )
