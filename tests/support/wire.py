"""HTTP/2 by hand over mutual TLS: frames and bytes as a test wants them, right or wrong.

Blocking sockets and no background work: nothing is answered, acknowledged or given back unless a method says so.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATIENCE = 20.0
"""Seconds that a test waits for what has to come, on a machine that has much else to do: less than the server's own
limits of 30 and 60. What comes late is no failure; how soon it comes is measured in tests/bench.
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW = 2**31 - 1
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11
"""Error codes (RFC 9113 section 7)."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
"""Frame types (RFC 9113 section 6)."""
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x01, 0x01, 0x04, 0x08, 0x20
"""Flags."""
INITIAL_WINDOW_SIZE, HEADER_TABLE_SIZE = SettingsFrame.INITIAL_WINDOW_SIZE, SettingsFrame.HEADER_TABLE_SIZE


@dataclass(slots=True)
class Reply:
    """What has come of a response so far. `whole`: it ended as it should; `reset`: the error that cut it off."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    informational: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] | None = None
    frames: int = 0
    whole: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.whole or self.reset is not None


class Ended(Exception):
    """The server ended the connection: `close_notify`, `eof` without one, `reset`, or the words of a TLS alert."""


def data(stream: int, body: bytes = b"", *, end: bool = False, pad: int = 0) -> DataFrame:
    frame = DataFrame(stream, body)
    if pad:
        frame.flags.add("PADDED")
        frame.pad_length = pad
    if end:
        frame.flags.add("END_STREAM")
    return frame


def reset(stream: int, error: int = 8) -> RstStreamFrame:
    return RstStreamFrame(stream, error)


def window(stream: int, increment: int) -> WindowUpdateFrame:
    return WindowUpdateFrame(stream, increment)


def raw(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of any frame, right or wrong; `length` may lie about the payload."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def connect(
    port: int, context: ssl.SSLContext, *, timeout: float = PATIENCE, receive_buffer: int | None = None
) -> ssl.SSLSocket:
    """Connect and shake hands; `receive_buffer` bytes bound what the kernel takes for a client that does not read."""
    plain = socket.socket()
    plain.settimeout(timeout)
    if receive_buffer is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        plain.connect(("127.0.0.1", port))
        return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
    except OSError:
        plain.close()
        raise


class Line:
    """A TLS connection that says how it ended."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send_bytes(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def shove(self, raw: bytes, times: int) -> None:
        """Send without a look at what comes back, for as long as the server takes it."""
        self.sock.settimeout(10)
        try:
            for _ in range(times):
                self.send_bytes(raw)
        except OSError:
            pass

    def recv(self, timeout: float = PATIENCE, size: int = 262_144) -> bytes:
        """Some bytes. Raises TimeoutError or Ended."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            got = self.sock.recv(size)
        except ssl.SSLEOFError:
            raise Ended("eof") from None
        except ConnectionError:
            raise Ended("reset") from None
        except ssl.SSLError as error:
            raise Ended(error.reason) from None
        if not got:
            raise Ended("close_notify")
        return got

    def vanish(self) -> None:
        """Go without a word: a TCP reset."""
        plain = socket.socket(fileno=self.sock.detach())
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        plain.close()


class Wire(Line):
    """One HTTP/2 connection. Streams may send without limit (2 GiB) unless `stream_window` says otherwise."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        stream_window: int = LARGEST_WINDOW,
        connection_window: int = LARGEST_WINDOW,
        settings: dict[int, int] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        super().__init__(connect(port, context, receive_buffer=receive_buffer))
        self.encoder, self.decoder = Encoder(), Decoder()
        self.decoder.max_allowed_table_size = 2**32
        self.replies: dict[int, Reply] = {}
        self.goaways: list[tuple[int, int]] = []
        self.initial_window = 0
        """What the server's SETTINGS allow on a new stream; 0 before they came."""
        self.given: dict[int, int] = {0: 65_535}
        """Bytes that WINDOW_UPDATE allowed beyond that, by stream; 0 is the connection."""
        self.sent: dict[int, int] = {0: 0}
        """Bytes that `say` has sent, by stream."""
        self.events: list[Frame] = []
        self.next_stream = 1
        self._buffer = bytearray()
        opening = [SettingsFrame(0, {INITIAL_WINDOW_SIZE: stream_window, **(settings or {})})]
        raw = PREFACE + b"".join(frame.serialize() for frame in opening)
        if connection_window > 65_535:
            raw += window(0, connection_window - 65_535).serialize()
        self.send_bytes(raw)

    # Sending.

    def send(self, *frames: Frame) -> None:
        """Send frames in one write."""
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def fields(
        self, fields: Iterable[tuple[str | bytes, str | bytes]], *, end: bool = True, stream: int | None = None
    ) -> HeadersFrame:
        """A HEADERS frame of these fields as they are, on the next stream."""
        number = stream or self.next_stream
        self.next_stream = max(self.next_stream, number + 2)
        self.replies.setdefault(number, Reply())
        frame = HeadersFrame(number, self.encoder.encode(list(fields)))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def head(
        self,
        path: str = "/",
        method: str = "GET",
        *,
        end: bool = True,
        more: Iterable[tuple[str, str]] = (),
        authority: str = "localhost",
    ) -> HeadersFrame:
        """The HEADERS frame of a request, on the next stream."""
        usual = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        return self.fields([*usual, *more], end=end)

    def open(
        self,
        path: str = "/",
        method: str = "GET",
        *,
        end: bool = True,
        more: Iterable[tuple[str, str]] = (),
        authority: str = "localhost",
    ) -> int:
        """Send the head of a request; return its stream."""
        frame = self.head(path, method, end=end, more=more, authority=authority)
        self.send(frame)
        return frame.stream_id

    def allowed(self, stream: int) -> int:
        """Bytes of DATA that may be sent on the stream now."""
        on_stream = self.initial_window + self.given.get(stream, 0) - self.sent.get(stream, 0)
        return min(on_stream, self.given[0] - self.sent[0])

    def say(self, stream: int, body: bytes = b"", *, end: bool = False, pad: int = 0, size: int = 16_384) -> None:
        """Send a body in frames of up to `size` bytes, as the windows allow it. An answer may come meanwhile."""
        left, extra = memoryview(body), pad + 1 if pad else 0
        self.until(lambda: self.initial_window > 0)
        while True:
            if left:
                self.until(lambda: self.allowed(stream) > extra)
            piece = left[: min(size, max(self.allowed(stream) - extra, 0))]
            left = left[len(piece) :]
            self.send(data(stream, bytes(piece), end=end and not left, pad=pad))
            for number in (0, stream):
                self.sent[number] = self.sent.get(number, 0) + len(piece) + extra
            if not left:
                return

    def acknowledge(self) -> None:
        self.send(_ack(SettingsFrame(0)))

    # Receiving.

    def frame(self, timeout: float = PATIENCE) -> Frame:
        """The next frame; SETTINGS and PING are acknowledged, and what belongs to a reply is added to it."""
        until = time.monotonic() + timeout
        while True:
            if len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(bytes(self._buffer[:9])))
                if len(self._buffer) >= 9 + length:
                    frame.parse_body(memoryview(bytes(self._buffer[9 : 9 + length])))
                    del self._buffer[: 9 + length]
                    self._take(frame)
                    return frame
            self._buffer += self.recv(until - time.monotonic())

    def until(self, done: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Receive frames until `done()`. Raises TimeoutError or Ended."""
        until = time.monotonic() + timeout
        while not done():
            self.frame(until - time.monotonic())

    def reply(self, stream: int, timeout: float = PATIENCE) -> Reply:
        """The reply on this stream, once it is whole or reset."""
        self.until(lambda: self.replies[stream].over, timeout)
        return self.replies[stream]

    def get(
        self,
        path: str = "/",
        method: str = "GET",
        *,
        timeout: float = PATIENCE,
        more: Iterable[tuple[str, str]] = (),
        authority: str = "localhost",
    ) -> Reply:
        """A whole request without a body, and its reply."""
        return self.reply(self.open(path, method, more=more, authority=authority), timeout)

    def ending(self, timeout: float = PATIENCE) -> str:
        """How the server ends the connection, after all that comes before."""
        until = time.monotonic() + timeout
        try:
            while True:
                self.frame(until - time.monotonic())
        except Ended as end:
            return str(end)

    def goaway_error(self, timeout: float = PATIENCE) -> int:
        """The error of the GOAWAY with which the server ends the connection."""
        ending = self.ending(timeout)
        assert self.goaways, f"no GOAWAY; the connection ended with {ending}"
        return self.goaways[-1][1]

    def _take(self, frame: Frame) -> None:
        if not isinstance(frame, DataFrame):
            self.events.append(frame)
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.initial_window = frame.settings.get(INITIAL_WINDOW_SIZE, 65_535)
            self.acknowledge()
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.send(_ack(PingFrame(0, frame.opaque_data)))
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append((frame.last_stream_id, frame.error_code))
        elif isinstance(frame, WindowUpdateFrame):
            self.given[frame.stream_id] = self.given.get(frame.stream_id, 0) + frame.window_increment
        elif isinstance(frame, HeadersFrame | DataFrame | RstStreamFrame | ContinuationFrame):
            self._take_reply(frame, self.replies.setdefault(frame.stream_id, Reply()))

    def _take_reply(self, frame: Frame, reply: Reply) -> None:
        reply.frames += 1
        if isinstance(frame, RstStreamFrame):
            reply.reset = frame.error_code
            return
        if isinstance(frame, DataFrame):
            reply.body += frame.data
        else:
            assert "END_HEADERS" in frame.flags, "a test that expects CONTINUATION has to gather them"
            fields = dict(self.decoder.decode(frame.data))
            status = fields.pop(":status", None)
            if status is None:
                reply.trailers = fields
            elif status.startswith("1"):
                reply.informational.append((int(status), fields))
            else:
                reply.status, reply.headers = int(status), fields
        reply.whole = "END_STREAM" in frame.flags


def _ack(frame: Frame) -> Frame:
    frame.flags.add("ACK")
    return frame
