"""HTTP/1.1 and its WebSockets: Hypercorn's H11Protocol on our connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import h11
import structlog

from services.transport.admission import without_peer_fields
from services.transport.engine import (
    STREAM_ID,
    ASGIHTTPState,
    Body,
    Closed,
    ConnectionState,
    H11Protocol,
    H11WSConnection,
    HTTPStream,
    RawData,
    Request,
    Response,
    StreamClosed,
    Updated,
)
from services.transport.messages import WebSocketMessages
from services.transport.target import TargetError, origin_form
from services.transport.tasks import PeerTasks

if TYPE_CHECKING:
    from services.transport.admission import Admission
    from services.transport.connection import Connection
    from services.transport.engine import StreamEvent, WireEvent, WorkerContext
    from services.transport.listener import Listener

log = structlog.get_logger("handclasp.transport")

_INBOUND_HIGH = 65_536
"""Bytes received and not yet taken by the parser from which the socket is read no more."""

_OUTBOUND_HIGH = 65_536
"""Bytes that are gathered before they are encrypted and sent, within one turn of the event loop."""

_SLICE = 16_384
"""Bytes of a request's head, or of a WebSocket, that are handled at once."""

_LOOK_FOR_END = 1.0
"""Seconds between two looks whether a client is gone whose socket is not read: its end is behind what was not read."""

_LATE_REQUEST = 1.0
"""Seconds that an idle connection stays open when the process stops: a request may be on its way, and HTTP/1.1 has no
GOAWAY to tell its client that it was not seen. It is answered with `Connection: close`."""


_REFUSALS = {
    400: "the request's target is no path, and no URI of a host",
    408: "the request's head is too slow",
    413: "the request's body is too large",
    421: "not a host that is served here",
    431: "too many fields",
    501: "no proxy",
    503: "too many connections of one identity",
    505: "not HTTP/1.1",
}


class _RequestStream(HTTPStream):
    """Hypercorn's, with a bound on the body; it can be refused while the application is at work."""

    limit: int | None = None
    _received = 0

    async def handle(self, event: StreamEvent) -> None:
        if self.limit is not None and isinstance(event, Body) and not self.closed:
            self._received += len(event.data)
            if self._received > self.limit:
                await self.refuse(413)
                return
        await super().handle(event)

    async def refuse(self, status: int) -> None:
        """Answer in the application's place, where it has not begun to; then the connection ends."""
        if self.closed:
            return
        if self.state is ASGIHTTPState.REQUEST:
            await self._send_error_response(status)
        await self.send(StreamClosed(stream_id=self.stream_id))


class _H11(H11Protocol):
    """Hypercorn's, without its ways from HTTP/1.1 to HTTP/2: over TLS, ALPN alone chooses (RFC 9113 section 3.2)."""

    worker: WorkerContext
    """The worker that does stop: a WebSocket that begins while it does is told to go away."""
    peer: Connection
    admission: Admission
    _refused = False

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        target, headers, refused = request.target, list(request.headers), None
        try:
            target, headers = origin_form(target, headers)
        except TargetError as error:
            refused = error.status
        refused = refused or self.admission.objection(headers)
        if request.method == b"CONNECT":
            refused = 501
        if request.http_version not in (b"1.0", b"1.1"):
            refused = 505
        if self.peer.over_limit:
            refused = 503
        if refused is not None:
            await self.refuse(refused)
            return
        if not self.peer.is_vouched():
            return
        headers = without_peer_fields(headers)
        if _asks_for_websocket(request):
            self.stream = WebSocketMessages(
                self.app,
                self.config,
                self.worker,
                self.task_group,
                self.ssl,
                self.client,
                self.server,
                self.stream_send,
                STREAM_ID,
            )
            self.connection = H11WSConnection(cast("h11.Connection", self.connection))
            await self.stream.handle(
                Request(
                    stream_id=STREAM_ID,
                    headers=headers,
                    http_version="1.1",
                    method="GET",
                    raw_path=target,
                    state=self.connection_state,
                )
            )
            return
        self.stream = stream = _RequestStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        stream.limit = self.admission.max_body
        await stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def stream_send(self, event: StreamEvent) -> None:
        if (
            isinstance(event, Response)
            and event.status_code >= 200
            and isinstance(self.stream, _RequestStream)
            and self.connection.their_state is h11.SEND_BODY
        ):
            # Answered before the request was whole: the connection ends behind it, and its client has to know
            # (RFC 9112 section 9.6), lest it sends the next request on it.
            event.headers.append((b"connection", b"close"))
        await super().stream_send(event)

    async def refuse(self, status: int) -> None:
        """Answer a request that no application hears of; then the connection ends."""
        self._refused = True
        self.peer.limit_broken(_REFUSALS.get(status, "unauthorized"), status)
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_error_response(status)
        await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        if not self._refused:  # by h11, which measures heads and knows what is none
            reason = "the request's head is too large" if status_code == 431 else "malformed request"
            self.peer.limit_broken(reason, status_code)
        await super()._send_error_response(status_code)

    @property
    def head_begun(self) -> bool:
        """Whether a part of a request's head has arrived, and not all of it."""
        return self.stream is None and bool(self.connection.trailing_data[0])


def _asks_for_websocket(request: h11.Request) -> bool:
    """RFC 6455 section 4.2.1, points 1, 3 and 4: what is missing beyond that is answered by 400."""
    fields = {name: value.lower() for name, value in request.headers if name in (b"connection", b"upgrade")}
    if len(fields) < 2:
        return False
    tokens = {token.strip() for token in fields.get(b"connection", b"").split(b",")}
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and b"upgrade" in tokens
        and fields.get(b"upgrade", b"").strip() == b"websocket"
    )


class HTTP1:
    """Feeds one connection's plaintext to Hypercorn's protocol, in order, and gathers what it answers.

    Hypercorn's protocol is made of coroutines, so a task stands between the socket and it. What a turn of the event
    loop writes (head, body, end) leaves as one TLS record.
    """

    def __init__(self, connection: Connection, listener: Listener, server: tuple[str, int] | None) -> None:
        self._connection = connection
        self._listener = listener
        self._inbound: deque[bytes] = deque()
        self._inbound_size = 0
        self._reading_paused = False
        self._outbound: list[bytes] = []
        self._outbound_size = 0
        self._waiting: asyncio.Future[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._tasks = PeerTasks(connection, listener)
        self._idle = True
        self._leaving = False
        self._h11 = _H11(
            listener.app,
            listener.config,
            listener.unending,
            self._tasks,  # type: ignore[arg-type]
            ConnectionState(listener.state),
            True,
            connection.peer.address,
            server,
            self._send,
        )
        self._h11.worker = listener.worker
        self._h11.peer = connection
        self._h11.admission = listener.admission
        self._head_timer: asyncio.TimerHandle | None = None

    # What the connection calls.

    def received(self, data: bytes) -> None:
        self._inbound.append(data)
        self._inbound_size += len(data)
        if self._inbound_size >= _INBOUND_HIGH and not self._reading_paused:
            self._reading_paused = True
            self._connection.pause_reading()
            self._listener.loop.call_later(_LOOK_FOR_END, self._look_for_end)
        if self._pump is None:
            self._pump = self._tasks.start(self._run())
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def writable(self) -> None:
        pass  # whoever waits, waits in Connection.drain

    def shut_down(self, *, late: bool) -> None:
        self._leaving = True
        # Past this count Hypercorn says `Connection: close` on the next response, and closes after it.
        self._h11.keep_alive_requests = self._listener.config.keep_alive_max_requests
        if self._idle:
            self._listener.loop.call_later(_LATE_REQUEST if late else 0, self._close_if_idle)
        elif isinstance(self._h11.stream, WebSocketMessages):
            self._h11.stream.go_away()

    def cut(self) -> None:
        stream = self._h11.stream
        if isinstance(stream, WebSocketMessages):
            stream.cut()
        elif isinstance(stream, _RequestStream):
            self._tasks.start(stream.refuse(401))
        elif self._idle:
            self.finish()
        else:  # asked just now: no application has heard of it yet
            self._tasks.start(self._h11.refuse(401))

    def find_stalled(self, since: float) -> str | None:  # noqa: ARG002
        return None  # there is one stream, and the connection itself sees that nothing of it is taken

    def calm_down(self, reason: str) -> None:
        if self._connection.over_limit:
            return  # 503 answers its first request
        self._connection.limit_broken(reason)
        self.finish()

    def finish(self) -> None:
        self._flush()
        self._close()

    def lost(self) -> None:
        self._head_is_whole()
        if self._pump is not None:
            self._pump.cancel()
        self._tasks.start(self._close_stream())

    # The task.

    async def _run(self) -> None:
        try:
            while True:
                while self._inbound:
                    data = self._inbound.popleft()
                    self._inbound_size -= len(data)
                    await self._handle(data)
                    if self._reading_paused and self._inbound_size < _INBOUND_HIGH // 2:
                        self._reading_paused = False
                        self._connection.resume_reading()
                self._waiting = self._listener.loop.create_future()
                await self._waiting
        except Exception:
            log.exception("HTTP/1.1 connection failed", identity=self._connection.peer.identity.name)
            self._connection.close()

    async def _handle(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            # In slices where a limit is looked at behind them only: a request's head is measured when more is wanted,
            # and 16 KiB of a WebSocket can be deflated from 16 MiB.
            sliced = self._h11.stream is None or isinstance(self._h11.stream, WebSocketMessages)
            end = start + _SLICE if sliced else len(data)
            await self._h11.handle(RawData(data[start:end] if end - start < len(data) else data))
            start = end
        if self._head_timer is None and self._idle and self._h11.head_begun:
            patience = self._listener.limits.header_timeout
            self._head_timer = self._listener.loop.call_later(patience, self._head_is_late)

    def _look_for_end(self) -> None:
        """What waits behind a whole request is another one. If its client has gone, the first has lost its reader.

        The end is seen as far as it has arrived: TCP keeps it back with what does not fit into our kernel's buffer.
        """
        if not self._reading_paused or not self._connection.is_open:
            return
        whole = self._h11.connection.their_state not in (h11.IDLE, h11.SEND_BODY, None)  # None: a WebSocket
        if whole and self._connection.peer_hung_up():
            self._connection.abort()
        else:
            self._listener.loop.call_later(_LOOK_FOR_END, self._look_for_end)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._idle:
            self._tasks.start(self._h11.refuse(408))

    def _head_is_whole(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    async def _close_stream(self) -> None:
        await self._h11.handle(Closed())

    # What Hypercorn's protocol calls.

    async def _send(self, event: WireEvent) -> None:
        if isinstance(event, RawData):
            if not event.data:
                return
            if not self._outbound:
                self._listener.loop.call_soon(self._flush)
            self._outbound.append(event.data)
            self._outbound_size += len(event.data)
            if self._outbound_size >= _OUTBOUND_HIGH:
                self._flush()
                # Whoever sends much gives the loop back: to a fast reader nothing else here would wait.
                await asyncio.sleep(0)
            if self._connection.writing_paused:
                await self._connection.drain()
        elif isinstance(event, Updated):
            self._idle = event.idle
            self._connection.set_idle(event.idle)
            if not event.idle:
                self._head_is_whole()
            elif self._leaving:
                # Its response left before the process was asked to stop: it did not say `Connection: close`.
                self._listener.loop.call_later(_LATE_REQUEST, self._close_if_idle)
        elif isinstance(event, Closed):
            self.finish()

    def _close(self) -> None:
        if self._h11.connection.our_state is h11.SEND_BODY:
            # Half a response, perhaps one that only the end of the connection delimits: with a close_notify it would
            # pass for whole (RFC 9112 section 8).
            self._connection.cut_short()
        else:
            self._connection.close()

    def _flush(self) -> None:
        if self._outbound:
            data = self._outbound[0] if len(self._outbound) == 1 else b"".join(self._outbound)
            self._outbound.clear()
            self._outbound_size = 0
            self._connection.send(data)

    def _close_if_idle(self) -> None:
        if self._idle and not self._inbound:
            self._flush()
            self._connection.close()
