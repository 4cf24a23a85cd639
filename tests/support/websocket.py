"""WebSocket frames by hand, over a stream of HTTP/2 (RFC 8441) or a connection of HTTP/1.1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wsproto.frame_protocol import FrameProtocol, Opcode

from tests.support.wire import PATIENCE, Ended, Wire, data
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Reply

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame, right or wrong (RFC 6455 section 5.2)."""
    size, mask = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def close_frame(code: int) -> bytes:
    return frame(Opcode.CLOSE, code.to_bytes(2, "big"))


class WebSocket:
    """One WebSocket; `over` is "h1" or "h2". `first` is sent in one write with the request."""

    def __init__(
        self,
        server: Server,
        over: str,
        path: str,
        *,
        first: bytes = b"",
        more: tuple = (),
        host: str = "localhost",
        **options: int,
    ) -> None:
        self._protocol = FrameProtocol(client=True, extensions=[])
        self._taken = 0
        self.line: Line1 | Wire
        if over == "h2":
            wire = self.line = server.h2(**options)
            usual = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https")]
            usual += [(":authority", host), (":path", path), ("sec-websocket-version", "13")]
            head = wire.fields([*usual, *more], end=False)
            self.stream = head.stream_id
            wire.send(head, *([data(self.stream, first)] if first else []))
        else:
            line = self.line = server.h1(**options)
            fields = "".join(f"{name}: {value}\r\n" for name, value in more)
            line.send_bytes(
                f"GET {path} HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                f"sec-websocket-version: 13\r\nsec-websocket-key: {_KEY}\r\n{fields}\r\n".encode("latin-1")
                + first
            )

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def answer(self, timeout: float = PATIENCE) -> Reply:
        """The reply to the handshake: 101 or 200 where it was accepted."""
        if isinstance(self.line, Line1):
            reply = self.line.reply(timeout=timeout)
            assert reply.status != 101 or reply.headers["sec-websocket-accept"] == _ACCEPT
            return reply
        reply = self.line.replies[self.stream]
        self.line.until(lambda: reply.status is not None or reply.over, timeout)
        if reply.status != 200:
            self.line.until(lambda: reply.over, timeout)
        return reply

    def accepted(self) -> WebSocket:
        assert self.answer().status in (101, 200)
        return self

    def send_bytes(self, raw: bytes) -> None:
        """Send frames as they are."""
        if isinstance(self.line, Line1):
            self.line.send_bytes(raw)
        else:
            self.line.say(self.stream, raw)

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.send_bytes(frame(Opcode.TEXT, message.encode()))
        else:
            self.send_bytes(frame(Opcode.BINARY, message))

    def receive(self, timeout: float = PATIENCE) -> str | bytes | int | None:
        """The next message; the code of a close frame; None at an end without one. PING is left unanswered."""
        until = time.monotonic() + timeout
        message: list[str | bytes] = []
        while True:
            for got in self._protocol.received_frames():
                if got.opcode is Opcode.CLOSE:
                    return int(got.payload[0])
                if got.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION):
                    message.append(got.payload if isinstance(got.payload, str) else bytes(got.payload))
                    if got.message_finished:
                        return message[0][:0].join(message)
                elif got.opcode is Opcode.PONG:
                    return b"pong " + bytes(got.payload)
            try:
                self._protocol.receive_bytes(self._more(until - time.monotonic()))
            except Ended:
                return None

    def _more(self, timeout: float) -> bytes:
        if isinstance(self.line, Line1):
            if self.line.left:
                left = bytes(self.line.left)
                self.line.left.clear()
                return left
            return self.line.recv(timeout)
        reply = self.line.replies[self.stream]
        self.line.until(lambda: len(reply.body) > self._taken or reply.over, timeout)
        if len(reply.body) == self._taken:
            raise Ended("end of stream")
        more = bytes(reply.body[self._taken :])
        self._taken = len(reply.body)
        return more

    def over(self, timeout: float = PATIENCE) -> str:
        """How the stream (h2: `END_STREAM`, `RST_STREAM n`) or the connection (h1) ends."""
        if isinstance(self.line, Line1):
            return self.line.ending(timeout)
        reply = self.line.reply(self.stream, timeout)
        return "END_STREAM" if reply.reset is None else f"RST_STREAM {reply.reset}"
