"""WebSocket messages, on either HTTP version: Hypercorn's WSStream, with ends that the application hears of.

Hypercorn's loses the application of a client that sends before it is accepted, reports every end as 1006, and lets a
malformed field of the handshake raise.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from services.transport.engine import (
    ASGIWebsocketState,
    EndBody,
    FrameTooLargeError,
    Request,
    Response,
    StreamClosed,
    WSStream,
)
from services.transport.tasks import Inbox, PeerTasks

if TYPE_CHECKING:
    from services.transport.engine import StreamEvent, WebsocketAcceptEvent


_CLOSE_PATIENCE = 2.0
"""Seconds that a client has to answer our closing frame."""


class WebSocketMessages(WSStream):
    """Bytes of one WebSocket in, ASGI events out, and back. It does not know what carries the bytes."""

    _code = CloseReason.ABNORMAL_CLOSURE.value
    """What the application is told when it ends (RFC 6455 section 7.4)."""

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed):
            await self._hang_up()
        elif isinstance(event, Request):
            try:
                await super().handle(event)
            except UnicodeDecodeError:  # a field of the handshake that is no ASCII
                await self._reject()
            if self.closed:
                await self.send(StreamClosed(stream_id=self.stream_id))
        elif self.closed:
            return
        elif self.handshake.accepted:
            with suppress(LocalProtocolError):  # data behind a closing frame is ignored (RFC 6455 section 5.5.1)
                await super().handle(event)
        else:  # data before the handshake is answered: Hypercorn's answer is 400
            await super().handle(event)
            self.closed = False
            await self._hang_up()
            await self.send(StreamClosed(stream_id=self.stream_id))

    def go_away(self) -> None:
        """The server stops: close, as soon as the application has handled what it was sent."""
        if isinstance(self.app_put, Inbox) and self.state is ASGIWebsocketState.CONNECTED:
            self.app_put.when_idle(lambda: self.task_group.spawn(self._close_going_away))

    def cut(self) -> None:
        """Nobody vouches for the caller any more."""
        self.task_group.spawn(self._refuse)

    async def _refuse(self) -> None:
        if self.closed:
            return
        if self.state is ASGIWebsocketState.HANDSHAKE:
            await self._send_error_response(401)
            await self.send(StreamClosed(stream_id=self.stream_id))
        else:
            await self._fail(CloseReason.POLICY_VIOLATION)

    async def _close_going_away(self) -> None:
        self._code = CloseReason.GOING_AWAY.value
        await self._send_wsproto_event(CloseConnection(code=CloseReason.GOING_AWAY))
        await self.context.sleep(_CLOSE_PATIENCE)
        if not self.closed:
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _hang_up(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.app_put is not None:
            ours = self.state in {ASGIWebsocketState.CLOSED, ASGIWebsocketState.HTTPCLOSED}
            code = CloseReason.NORMAL_CLOSURE.value if ours else self._code
            await self.app_put({"type": "websocket.disconnect", "code": code})

    async def _send_error_response(self, status_code: int) -> None:
        cast("PeerTasks", self.task_group).introduce(
            cast("Any", self.scope)
        )  # the application was not started: the log knows the peer
        await super()._send_error_response(status_code)

    async def _reject(self) -> None:
        head = [(b"content-length", b"0"), (b"connection", b"close")]
        await self.send(Response(stream_id=self.stream_id, status_code=400, headers=head))
        await self.send(EndBody(stream_id=self.stream_id))
        self.closed = True

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        try:
            await super()._accept(message)
        except ValueError:  # an extension's parameter is no number: an extension that is not understood is declined
            self.handshake.extensions = None
            await super()._accept(message)
        finally:
            if self.context.terminated.is_set():
                self.go_away()
            if not self.handshake.accepted:  # the application's answer was no answer: it gets the error, the client 500
                self.state = ASGIWebsocketState.HANDSHAKE

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    self.buffer.clear()
                    await self._fail(CloseReason.MESSAGE_TOO_BIG)
                    return
                if event.message_finished and not cast("PeerTasks", self.task_group).is_vouched():
                    return
                if event.message_finished and self.app_put is not None:
                    await self.app_put(self.buffer.to_message())
                    self.buffer.clear()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state is ConnectionState.OPEN:  # wsproto found the peer's frames malformed
                    await self._fail(event.code)
                    return
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    self._code = int(event.code or CloseReason.NO_STATUS_RCVD)
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))
                return

    async def _fail(self, code: int) -> None:
        """The peer broke the protocol: tell it how, and end (RFC 6455 section 7.1.7)."""
        self._code = int(code)
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(StreamClosed(stream_id=self.stream_id))
