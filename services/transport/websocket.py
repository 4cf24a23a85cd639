"""A WebSocket on an HTTP/2 stream (RFC 8441): Hypercorn's WSStream, fed by our frames."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
from h2.errors import ErrorCodes

from services.transport.admission import without_peer_fields
from services.transport.engine import (
    Body,
    ConnectionState,
    Data,
    EndBody,
    EndData,
    Request,
    Response,
    StreamClosed,
    filter_pseudo_headers,
)
from services.transport.exchange import REFUSALS
from services.transport.fields import date, sendable
from services.transport.messages import WebSocketMessages
from services.transport.stream import Stream

if TYPE_CHECKING:
    import asyncio

    from services.transport.engine import StreamEvent
    from services.transport.http2 import HTTP2
    from services.transport.stream import Headers

log = structlog.get_logger("handclasp.transport")


_PIECE = 4_096
"""Bytes up to which pieces that are not handled yet are joined."""


class WebSocketStream(Stream):
    """The inbound half is WebSocket frames. What handles them is made of coroutines, so a task feeds it, in order."""

    __slots__ = ("_closed_told", "_inbound", "_pump", "_responded", "_waiting", "_ws")

    def __init__(self, http2: HTTP2, stream_id: int) -> None:
        super().__init__(http2, stream_id)
        self._inbound: deque[StreamEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._responded = False
        self._closed_told = False
        self._ws: WebSocketMessages | None = None

    def open(self, headers: Headers) -> None:
        pseudo = dict(headers[:8])
        path = pseudo.get(b":path", b"")
        if pseudo.get(b":protocol") != b"websocket" or not path.startswith(b"/") or not path.isascii():
            # Nothing else is spoken over CONNECT here (RFC 8441 section 4, RFC 9110 section 15.6.2).
            self.headers = [(b":status", b"501"), (b"content-length", b"0"), date()]
            self.end()
            return
        listener = self.http2.listener
        refused = listener.admission.objection(headers, pseudo.get(b":authority"))
        if refused is not None:
            self.http2.connection.limit_broken(REFUSALS[refused], refused)
        if refused is not None or not self.http2.connection.is_vouched():
            self.headers = [(b":status", b"%d" % (refused or 401)), (b"content-length", b"0"), date()]
            self.end()
            return
        self._ws = WebSocketMessages(
            listener.app,
            listener.config,
            listener.worker,
            self.http2.tasks,  # type: ignore[arg-type]
            True,
            self.http2.connection.peer.address,
            self.http2.server,
            self._send,
            self.id,
        )
        self._put(
            Request(
                stream_id=self.id,
                headers=without_peer_fields(filter_pseudo_headers(headers)),
                http_version="2",
                method="GET",
                raw_path=path,
                state=ConnectionState(listener.state),
            )
        )
        self.http2.running += 1
        self.http2.tasks.start(self._run(self._ws))

    def data(self, data: bytes) -> None:
        last = self._inbound[-1] if self._inbound else None
        if isinstance(last, Data) and len(last.data) < _PIECE:  # many small frames are one piece, not many objects
            self._inbound[-1] = Data(stream_id=self.id, data=last.data + data)
        elif data:
            self._put(Data(stream_id=self.id, data=data))

    def go_away(self) -> None:
        """The server stops."""
        if not self.ended and self._ws is not None:
            self._ws.go_away()

    def cut(self) -> None:
        if not self.ended and self._ws is not None:  # else `open` is about to answer
            self._ws.cut()

    def request_end(self) -> None:
        self.disconnected()

    def disconnected(self) -> None:
        if not self._closed_told:
            self._closed_told = True
            self._put(StreamClosed(stream_id=self.id))

    def _put(self, event: StreamEvent) -> None:
        self._inbound.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _run(self, messages: WebSocketMessages) -> None:
        event: StreamEvent | None = None
        try:
            while not isinstance(event, StreamClosed):
                while not self._inbound:
                    self._waiting = self.http2.loop.create_future()
                    await self._waiting
                event = self._inbound.popleft()
                await messages.handle(event)
                if isinstance(event, Data):
                    self.http2.read(self, len(event.data))
        except Exception:
            log.exception("WebSocket failed", identity=self.http2.connection.peer.identity.name)
            self.http2.reset(self, ErrorCodes.INTERNAL_ERROR)
        finally:
            self.http2.running -= 1

    async def _send(self, event: Any) -> None:
        if self.closed or self.ended:
            return
        if isinstance(event, Response):
            self._responded = True
            self.headers = [(b":status", b"%d" % event.status_code), *sendable(event.headers), date()]
            self.http2.schedule(self)
        elif isinstance(event, Data | Body):
            self.say(event.data)
            await self.drain()
        elif isinstance(event, EndData | EndBody):
            self.end()
        elif isinstance(event, StreamClosed):
            if self._responded:
                self.end()
            else:
                self.http2.reset(self, ErrorCodes.INTERNAL_ERROR)
