"""WebSockets over HTTP/1.1 and HTTP/2: messages of all sizes, ends from either side, frames that are wrong, bombs."""

from __future__ import annotations

import time
import zlib
from functools import cache
from typing import TYPE_CHECKING

import pytest
from wsproto.frame_protocol import Opcode

from tests.support.server import eventually
from tests.support.websocket import WebSocket, close_frame, frame
from tests.support.wire import PATIENCE, Wire, data
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from tests.support.server import Server

BOTH = pytest.mark.parametrize("over", ["h1", "h2"])


@BOTH
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 15 * 2**20])
def test_message_comes_back(server: Server, over: str, size: int) -> None:
    """Messages of every length encoding, and one of 15 MiB, are echoed whole."""
    message = bytes(range(256)) * (size // 256 + 1)
    with WebSocket(server, over, "/ws-echo").accepted() as websocket:
        websocket.send(message[:size])
        assert websocket.receive(20) == message[:size]
        websocket.send("text: \u20ac")
        assert websocket.receive() == "text: \u20ac"


@BOTH
def test_fragments_and_pings(server: Server, over: str) -> None:
    """A message in pieces, with a PING between them, is one message; the PING is answered."""
    with WebSocket(server, over, "/ws-echo").accepted() as websocket:
        websocket.send_bytes(frame(Opcode.TEXT, b"one ", final=False))
        websocket.send_bytes(frame(Opcode.PING, b"still there?"))
        websocket.send_bytes(frame(Opcode.CONTINUATION, b"message"))
        assert websocket.receive() == b"pong still there?"
        assert websocket.receive() == "one message"


@BOTH
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_client_closes(server: Server, over: str, code: int, tag: str) -> None:
    """The client's Close is answered, the application hears its code, and the connection ends."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        websocket.send_bytes(close_frame(code))
        assert websocket.receive() == code
        assert websocket.over() in {"close_notify", "END_STREAM"}
    eventually(lambda: server.stats(tag)["active"] == 0)
    assert server.stats(tag)["ended"] == {f"websocket.disconnect {code}": 1}


@BOTH
def test_application_closes(server: Server, over: str, tag: str) -> None:
    """The application's Close arrives with its code; the client answers; both are done."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        websocket.send("bye")
        assert websocket.receive() == 4001
        websocket.send_bytes(close_frame(4001))
        assert websocket.over() in {"close_notify", "END_STREAM"}
    eventually(lambda: server.stats(tag)["active"] == 0)


@BOTH
def test_client_vanishes(server: Server, over: str, tag: str) -> None:
    """A client that is gone without a Close is 1006 to the application."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        websocket.send("hello")
        assert websocket.receive() == "hello"
        websocket.line.vanish()
    eventually(lambda: server.stats(tag)["active"] == 0)
    assert server.stats(tag)["ended"] == {"websocket.disconnect 1006": 1}


@BOTH
def test_endless_sender_ends_with_its_client(server: Server, over: str, tag: str) -> None:
    """An application that only ever sends gets OSError, and the event loop is not held up."""
    websocket = WebSocket(server, over, f"/ws-endless?tag={tag}").accepted()
    websocket.receive()
    websocket.line.vanish()
    eventually(lambda: server.stats(tag)["active"] == 0)
    assert server.stats(tag)["ended"] == {"OSError": 1}


@BOTH
def test_ping_to_a_sender_that_waits(server: Server, over: str) -> None:
    """A PING while the application waits for room is answered, and neither is forgotten."""
    with WebSocket(server, over, "/ws-flood", receive_buffer=4_096).accepted() as websocket:
        time.sleep(0.2)
        websocket.send_bytes(frame(Opcode.PING, b"now"))
        time.sleep(0.1)
        got = [websocket.receive() for _ in range(102)]
        assert sum(message == b"x" * 100_000 for message in got) == 100
        assert b"pong now" in got
        assert 1000 in got


@BOTH
def test_rejection(server: Server, over: str) -> None:
    """A WebSocket that the application closes before it accepts is a 403."""
    with WebSocket(server, over, "/ws-reject") as websocket:
        assert websocket.answer().status == 403


@BOTH
def test_data_before_the_handshake_is_answered(server: Server, over: str, tag: str) -> None:
    """Whether it is taken or refused: no application waits for ever for a client that is gone."""
    for _ in range(20):
        with WebSocket(server, over, f"/ws-echo?tag={tag}", first=frame(Opcode.TEXT, b"early")) as websocket:
            assert websocket.answer().status in {200, 101, 400}
    eventually(lambda: server.stats(tag)["active"] == 0)


@BOTH
def test_frame_behind_the_closing_frame(server: Server, over: str, tag: str) -> None:
    """What follows a Close in the same write is ignored (RFC 6455 section 5.5.1)."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        if isinstance(websocket.line, Wire):
            websocket.line.send(
                data(websocket.stream, close_frame(1000)), data(websocket.stream, frame(Opcode.TEXT, b"late"))
            )
        else:
            websocket.send_bytes(close_frame(1000) + frame(Opcode.TEXT, b"late"))
        assert websocket.receive() == 1000
        assert websocket.over() in {"close_notify", "END_STREAM"}
    eventually(lambda: server.stats(tag)["active"] == 0)


WRONG = {
    "reserved bit": (frame(Opcode.TEXT, b"x", reserved=0x40), 1002),
    "unknown opcode": (frame(5, b"x"), 1002),
    "text that is not UTF-8": (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
    "PING of 126 bytes": (frame(Opcode.PING, b"x" * 126), 1002),
    "PING in pieces": (frame(Opcode.PING, b"x", final=False), 1002),
    "not masked": (frame(Opcode.TEXT, b"hi", masked=False), 1002),
    "CONTINUATION of nothing": (frame(Opcode.CONTINUATION, b"x"), 1002),
    "Close of one byte": (frame(Opcode.CLOSE, b"\x03"), 1002),
    "Close with a code that is none": (close_frame(5), 1002),
}


@BOTH
@pytest.mark.parametrize("case", WRONG)
def test_wrong_frame(server: Server, over: str, case: str, tag: str) -> None:
    """A frame that breaks RFC 6455 is answered by a Close that says how; the application hears of the end."""
    raw, code = WRONG[case]
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        websocket.send_bytes(raw)
        assert websocket.receive() == code
    eventually(lambda: server.stats(tag)["active"] == 0)


@BOTH
def test_message_beyond_the_limit(server: Server, over: str, tag: str) -> None:
    """More than 16 MiB is 1009, and is not gathered to its end."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}").accepted() as websocket:
        piece = bytes(2**20)
        websocket.send_bytes(frame(Opcode.BINARY, piece, final=False))
        try:
            for _ in range(20):
                websocket.send_bytes(frame(Opcode.CONTINUATION, piece, final=False))
        except Exception as refused:  # the server may have closed already
            assert not isinstance(refused, AssertionError)
        assert websocket.receive(20) in {1009, None}
    eventually(lambda: server.stats(tag)["active"] == 0)


@cache
def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(200))
    return packed + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]


@BOTH
def test_deflate_bomb(server: Server, over: str) -> None:
    """200 KiB that would unpack to 200 MiB are 1009, and memory stays bounded."""
    before, peak = server.rss(), 0.0
    more = (("sec-websocket-extensions", "permessage-deflate"),)
    with WebSocket(server, over, "/ws-echo", more=more).accepted() as websocket:
        websocket.send_bytes(frame(Opcode.BINARY, bomb(), reserved=0x40))
        until = time.monotonic() + PATIENCE
        websocket.line.sock.settimeout(0.01)
        while time.monotonic() < until:
            peak = max(peak, server.rss())
            try:
                assert websocket.receive(0.01) == 1009
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("no answer")
    assert peak - before < 64


@pytest.mark.parametrize(
    "more",
    [
        ("sec-websocket-protocol", "\xff"),
        ("sec-websocket-extensions", "\xff"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits=abc"),
        ("sec-websocket-extensions", "permessage-deflate; server_max_window_bits=99"),
        ("sec-websocket-extensions", ";;;=,,"),
    ],
    ids=["protocol", "extension", "window bits of letters", "window bits of 99", "punctuation"],
)
def test_odd_handshake(server: Server, more: tuple[str, str], tag: str) -> None:
    """A malformed field is declined or refused, at once; nothing hangs."""
    with WebSocket(server, "h1", f"/ws-echo?tag={tag}", more=(more,)) as websocket:
        reply = websocket.answer()
        assert reply.status in {101, 400, 200, 404}
        if reply.status == 101:
            websocket.send("hello")
            assert websocket.receive() == "hello"
    eventually(lambda: server.stats(tag)["active"] == 0)


@BOTH
def test_bad_handshake(server: Server, over: str, tag: str) -> None:
    """A version of the protocol that is not ours is a 400; the application sees nothing of it."""
    with WebSocket(server, over, f"/ws-echo?tag={tag}", more=(("sec-websocket-version", "12"),)) as websocket:
        assert websocket.answer().status == 400
    assert server.stats(tag)["seen"] == 0


@BOTH
def test_small_frames_that_nobody_receives(server: Server, over: str) -> None:
    """What waits for an application that does not receive is bounded in memory, however small its pieces."""
    before = server.rss()
    with WebSocket(server, over, "/ws-deaf?s=2").accepted() as websocket:
        piece = frame(Opcode.TEXT)
        if isinstance(websocket.line, Line1):
            websocket.line.sock.settimeout(0.3)
            try:
                for _ in range(100):
                    websocket.line.send_bytes(piece * 10_000)
            except OSError:
                pass
        else:
            websocket.line.say(websocket.stream, piece * 20_000, size=2)
        assert server.rss() - before < 8
