"""A WebSocket, on a stream (RFC 8441) or on a whole connection (RFC 6455): Hypercorn's WSStream, fed by our frames."""

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
)
from services.transport.exchange import REFUSALS
from services.transport.fields import date
from services.transport.messages import WebSocketMessages
from services.transport.stream import Stream

if TYPE_CHECKING:
    import asyncio

    from services.transport.carrier import Carrier
    from services.transport.engine import StreamEvent
    from services.transport.head import Head

log = structlog.get_logger("handclasp.transport")


_PIECE = 8_192
"""Bytes of a WebSocket that are handled at once: as many small frames are joined, and no more, for they may be deflated
from a thousand times as many."""


class WebSocketStream(Stream):
    """The inbound half is WebSocket frames. What handles them is made of coroutines, so a task feeds it, in order."""

    __slots__ = ("_closed_told", "_inbound", "_pump", "_responded", "_waiting", "_ws")

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        super().__init__(carrier, stream_id)
        self._inbound: deque[StreamEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._responded = False
        self._closed_told = False
        self._ws: WebSocketMessages | None = None  # refused, unless there is one

    def begin(self, head: Head) -> None:
        listener, connection = self.carrier.listener, self.carrier.connection
        refused = listener.admission.objection(head.fields, head.authority)
        if head.version == "2" and (
            head.protocol != b"websocket" or not head.target.startswith(b"/") or not head.target.isascii()
        ):
            refused = 501  # nothing else is spoken over CONNECT here (RFC 8441 section 4, RFC 9110 section 15.6.2)
        if refused is not None:
            connection.limit_broken(REFUSALS.get(refused, "no proxy"), refused)
        if refused is not None or not connection.is_vouched():
            self.headers = [(b":status", b"%d" % (refused or 401)), (b"content-length", b"0"), date()]
            self.end()
            return
        self._ws = WebSocketMessages(
            listener.app,
            listener.config,
            listener.worker,
            self.carrier.tasks,  # type: ignore[arg-type]
            True,
            connection.peer.address,
            self.carrier.server,
            self._send,
            self.id,
        )
        self._put(
            Request(
                stream_id=self.id,
                headers=without_peer_fields(head.fields),
                http_version=head.version,
                method="GET",
                raw_path=head.target,
                state=ConnectionState(listener.state),
            )
        )
        self.carrier.running += 1
        self.carrier.tasks.start(self._run(self._ws))

    def data(self, data: bytes) -> None:
        last = self._inbound[-1] if self._inbound else None
        if isinstance(last, Data) and len(last.data) + len(data) <= _PIECE:  # many small frames are one piece
            self._inbound[-1] = Data(stream_id=self.id, data=last.data + data)
            return
        for start in range(0, len(data), _PIECE):
            self._put(Data(stream_id=self.id, data=data[start : start + _PIECE]))

    def go_away(self) -> None:
        """The server stops."""
        if self._ws is not None and not self.ended:
            self._ws.go_away()

    def cut(self) -> None:
        if self._ws is not None and not self.ended:
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
                    self._waiting = self.carrier.loop.create_future()
                    await self._waiting
                event = self._inbound.popleft()
                await messages.handle(event)
                if isinstance(event, Data):
                    self.carrier.read(self, len(event.data))
        except Exception:
            log.exception("WebSocket failed", identity=self.carrier.connection.peer.identity.name)
            self.carrier.reset(self, ErrorCodes.INTERNAL_ERROR)
        finally:
            self.carrier.running -= 1

    async def _send(self, event: Any) -> None:
        if self.closed or self.ended:
            return
        if isinstance(event, Response):
            self._responded = True
            self.headers = [(b":status", b"%d" % event.status_code), *self.carrier.sendable(event.headers), date()]
            self.carrier.schedule(self)
        elif isinstance(event, Data | Body):
            self.say(event.data)
            await self.drain()
        elif isinstance(event, EndData | EndBody):
            self.end()
        elif isinstance(event, StreamClosed):
            if self._responded:
                self.end()
            else:
                self.carrier.reset(self, ErrorCodes.INTERNAL_ERROR)
