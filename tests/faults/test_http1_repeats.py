"""A request that was asked before, byte for byte, is answered as it was before, whatever comes between and behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.transport.h1_repeats import Requests, response_head
from services.transport.head import Head

if TYPE_CHECKING:
    from tests.support.server import Server

HOST = "host: localhost\r\n"
PLAIN = f"GET /down?n=7 HTTP/1.1\r\n{HOST}\r\n"
BETWEEN = {
    "HEAD": (f"HEAD /down?n=7 HTTP/1.1\r\n{HOST}\r\n", 0),
    "a stream": (f"GET /stream HTTP/1.1\r\n{HOST}\r\n", 10),
    "a short one": (f"GET / HTTP/1.1\r\n{HOST}\r\n", 2),
    "a large one": (f"GET /down?n=200000 HTTP/1.1\r\n{HOST}\r\n", 200_000),
    "a body": (f"POST /down?n=3 HTTP/1.1\r\n{HOST}content-length: 2\r\n\r\nhi", 3),
    "keep-alive said": (f"GET /down?n=7 HTTP/1.1\r\n{HOST}connection: keep-alive\r\n\r\n", 7),
    "another path": (f"GET /down?n=8 HTTP/1.1\r\n{HOST}\r\n", 8),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_what_comes_between(server: Server, case: str) -> None:
    """The same three times, another one twice, the same again; one at a time."""
    other, size = BETWEEN[case]
    with server.h1() as line:
        for raw, length in [(PLAIN, 7)] * 3 + [(other, size)] * 2 + [(PLAIN, 7)] * 2:
            line.send_bytes(raw.encode())
            reply = line.reply("HEAD" if raw.startswith("HEAD") else "GET")
            assert (reply.status, len(reply.body), reply.whole) == (200, length, True)


@pytest.mark.parametrize("case", BETWEEN)
def test_what_comes_behind(server: Server, case: str) -> None:
    """Pipelined behind a known one, in the same packet and while it is being answered."""
    other, size = BETWEEN[case]
    slow = f"GET /sleep?s=0.1 HTTP/1.1\r\n{HOST}\r\n"
    with server.h1() as line:
        for first, body in [(PLAIN, 7), (slow, len(b"first-last"))]:
            for _ in range(2):
                line.send_bytes(first.encode())
                line.reply()
            for apart in (True, False):
                for part in (first, other + PLAIN) if apart else (first + other + PLAIN,):
                    line.send_bytes(part.encode())
                assert len(line.reply().body) == body
                assert len(line.reply("HEAD" if other.startswith("HEAD") else "GET").body) == size
                assert len(line.reply().body) == 7


def test_a_known_request_in_pieces(server: Server) -> None:
    """And two of them that arrive as one and a half."""
    with server.h1() as line:
        for cut in (1, 10, len(PLAIN) - 1, len(PLAIN), len(PLAIN) + 5):
            for _ in range(2):
                line.send_bytes(PLAIN.encode())
                assert len(line.reply().body) == 7
            both = (PLAIN + PLAIN).encode()
            line.send_bytes(both[:cut])
            line.send_bytes(both[cut:])
            assert [len(line.reply().body) for _ in range(2)] == [7, 7]


def test_known_and_bad(server: Server) -> None:
    """Rubbish behind a known request: it is answered, then the rubbish is refused."""
    with server.h1() as line:
        for _ in range(2):
            line.send_bytes(PLAIN.encode())
            line.reply()
        line.send_bytes(PLAIN.encode() + b"rubbish\r\n\r\n")
        assert line.reply().status == 200
        assert line.reply().status == 400
        assert line.ending() == "close_notify"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ([(b"content-type", b"text/plain")], 3),
        ([(b"content-length", b"3")], 4),
        ([(b"content-length", b"x")], 3),
        ([(b"content-length", b"3"), (b"transfer-encoding", b"chunked")], 3),
        ([(b"content-length", b"3"), (b"connection", b"close")], 3),
        ([(b"content-length", b"3"), (b"x", b"a\r\nb")], 3),
    ],
)
def test_what_h11_has_to_hear_of(fields: list[tuple[bytes, bytes]], size: int) -> None:
    """Chunks, lengths that are not the body's, ends of the connection, what it refuses."""
    assert response_head(b"200", tuple(fields), size) is None


def test_a_head_is_h11s() -> None:
    """To the byte."""
    head = response_head(b"200", ((b"content-length", b"3"), (b"x-a", b"b")), 3)
    assert head == b"HTTP/1.1 200 \r\ncontent-length: 3\r\nx-a: b\r\n\r\n"
    for status in (b"204", b"304"):
        assert response_head(status, ((b"content-length", b"0"),), 0) is None


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (Head("1.1", b"GET", b"/", [(b"host", b"x")]), True),
        (Head("1.1", b"GET", b"/", [(b"host", b"x"), (b"connection", b"Keep-Alive")]), True),
        (Head("1.0", b"GET", b"/", []), False),
        (Head("1.1", b"HEAD", b"/", [(b"host", b"x")]), False),
        (Head("1.1", b"GET", b"/", [(b"host", b"x"), (b"connection", b"close")]), False),
        (Head("1.1", b"GET", b"/", [(b"host", b"x"), (b"upgrade", b"h2c")]), False),
        (Head("1.1", b"GET", b"/", [(b"host", b"x"), (b"content-length", b"0")]), False),
        (Head("1.1", b"GET", b"/", [(b"host", b"x"), (b"expect", b"100-continue")]), False),
    ],
)
def test_what_is_remembered(head: Head, known: bool) -> None:
    """Only what leaves h11 as it was; four at most, and no long ones."""
    requests = Requests()
    requests.remember(b"bytes", head)
    assert requests.get(b"bytes") == (head if known else None)
    requests.remember(b"l" * 2_000, head)
    assert requests.get(b"l" * 2_000) is None
    for number in range(9):
        requests.remember(b"%d" % number, head)
    assert sum(requests.get(b"%d" % number) is not None for number in range(9)) <= 4
