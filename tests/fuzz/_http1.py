"""HTTP/1.1 that was in order once: requests in a row, chunked bodies, WebSockets; changed in a few octets, cut
anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.fuzz._http2 import cut
from tests.support.websocket import frame as ws_frame

if TYPE_CHECKING:
    from tests.fuzz._conversation import Conversation

LINES = [
    b"GET / HTTP/1.1", b"POST /echo HTTP/1.1", b"HEAD /large HTTP/1.1", b"GET /stream HTTP/1.1",
    b"GET /large HTTP/1.1", b"POST /early HTTP/1.1", b"GET /hold HTTP/1.1", b"GET /trailers HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"GET https://localhost/ HTTP/1.1",
    b"CONNECT localhost:443 HTTP/1.1", b"GET / HTTP/2.0", b"PRI * HTTP/2.0",
    b"GET /%zz%00?\xff HTTP/1.1", b"GET  / HTTP/1.1", b"GET /", b"GET / HTTP/1.1 ",
    b"G\0T / HTTP/1.1", b"",
]  # fmt: skip
FIELDS = [
    b"host: localhost", b"connection: close", b"connection: keep-alive", b"content-length: 5", b"content-length: 0",
    b"content-length: 5, 5", b"content-length: +5", b"content-length: 99999999999999999999",
    b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked", b"transfer-encoding: identity",
    b"expect: 100-continue", b"te: trailers", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__",
    b"x: y\r\n z", b" x: y", b"x : y", b"x", b": y", b"x: \0",
    b"x: \xff", b"host: elsewhere", b"x-large: " + b"y" * 9_000, b"cookie: a=b",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n", b"-1\r\n", b"5\r\nhelloo\r\n", b"0\r\n\r\n", b"x" * 70_000, b"\r\n\r\n",
    b"4\nhell\n0\n\n",
]  # fmt: skip
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
EXTENSIONS = [
    b"", b"sec-websocket-extensions: permessage-deflate\r\n",
    b"sec-websocket-extensions: permessage-deflate; client_max_window_bits=99\r\n",
    b"sec-websocket-extensions: \xff; ;=\r\n", b"sec-websocket-protocol: chat, \xff\r\n", b"origin: null\r\n",
]  # fmt: skip

SOUND = [
    b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n",
]

_octets = st.binary(max_size=140)


@st.composite
def _request(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from(SOUND))
    fields = [FIELDS[0], *draw(st.lists(st.sampled_from(FIELDS), max_size=3))]
    return b"\r\n".join([draw(st.sampled_from(LINES)), *fields, b"", b""]) + draw(st.sampled_from(BODIES))


@st.composite
def _websocket(draw: st.DrawFn) -> list[bytes]:
    parts = [UPGRADE + draw(st.sampled_from(EXTENSIONS)) + b"\r\n"]
    for _ in range(draw(st.integers(0, 6))):
        parts.append(
            ws_frame(
                draw(st.sampled_from([0, 1, 1, 2, 2, 3, 8, 9, 10, 15])),
                draw(st.one_of(_octets, st.sampled_from([b"\xff\xfe", b"\x03\xe8", b"\0", bytes(70_000)]))),
                final=draw(st.integers(0, 3)) > 0,
                reserved=draw(st.sampled_from([0, 0, 0, 0x40, 0x70])),
                masked=draw(st.integers(0, 9)) > 0,
            )
        )
    return parts


def _change(draw: st.DrawFn, part: bytes) -> bytes:
    at, value = draw(st.integers(0, max(len(part) - 1, 0))), draw(st.integers(0, 255))
    how = draw(st.sampled_from(["octet", "shorter", "longer", "twice", "insert"]))
    if how == "octet":
        return part[:at] + bytes([value]) + part[at + 1 :]
    if how == "shorter":
        return part[:at]
    if how == "twice":
        return part[:at] + part
    return part[:at] + (draw(_octets) if how == "insert" else bytes([value]) * draw(st.integers(1, 40_000))) + part[at:]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A conversation over HTTP/1.1, perhaps one that becomes a WebSocket."""
    parts = draw(st.lists(_request(), max_size=4))
    if not parts or draw(st.integers(0, 2)) == 0:
        parts += draw(_websocket())
    intact = 0 if draw(st.booleans()) else 1  # the first part stays as it is: its answer is owed
    sound = intact == 1 and parts[0] in SOUND
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(parts) - 1))
        if at >= intact:
            parts[at] = _change(draw, parts[at])
    return cut(draw, "http/1.1", parts, sound=sound or parts[0] in SOUND)
