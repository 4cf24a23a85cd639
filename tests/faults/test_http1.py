"""HTTP/1.1 by the letter and against it: order, limits, upgrades that are not ours, bodies that are none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults._app import digest, pieces

if TYPE_CHECKING:
    from tests.support.server import Server

HOST = "host: localhost\r\n"


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Twenty requests in one write, the slow one first."""
    with server.h1() as line:
        paths = ["/sleep?s=0.2"] + [f"/down?n={number}" for number in range(1, 20)]
        line.send_bytes("".join(f"GET {path} HTTP/1.1\r\n{HOST}\r\n" for path in paths).encode())
        assert line.reply().body == b"first-last"
        for number in range(1, 20):
            assert len(line.reply().body) == number


def test_pipelined_requests_with_bodies(server: Server) -> None:
    """Where one body ends the next request begins, content-length or chunked, read by the application or not."""
    with server.h1() as line:
        plain = f"POST /echo HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhello"
        chunked = f"POST /echo HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
        line.send_bytes((plain + chunked).encode() * 10)
        bodies = {bytes(line.reply().body) for _ in range(20)}
        assert bodies == {b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 5"}


def test_pipelining_without_reading_is_held_back(server: Server, tag: str) -> None:
    """A client that sends requests and reads no answers is read no more, and holds a bounded amount of memory."""
    before = server.rss()
    with server.h1(receive_buffer=4_096) as line:
        line.sock.settimeout(0.5)
        request = f"GET /down?n=65536&tag={tag} HTTP/1.1\r\n{HOST}\r\n".encode() * 100
        sent = 0
        started = time.monotonic()
        try:
            while time.monotonic() - started < 3:
                sent += line.sock.send(request)
        except OSError:
            pass
        assert server.rss() - before < 16
        assert server.stats(tag)["seen"] < 500
        line.vanish()


def test_keep_alive(server: Server) -> None:
    """A connection serves one request after the other; `connection: close` ends it in order."""
    with server.h1() as line:
        for _ in range(20):
            reply = line.get()
            assert reply.whole
            assert "connection" not in reply.headers
        assert line.get(more="connection: close\r\n").headers["connection"] == "close"
        assert line.ending() == "close_notify"


def test_http10(server: Server) -> None:
    """HTTP/1.0 is answered, and its connection ends."""
    with server.h1() as line:
        line.send_bytes(b"GET /stream HTTP/1.0\r\n\r\n")
        reply = line.reply()
        assert (reply.status, bytes(reply.body), reply.whole) == (200, b"0;1;2;3;4;", True)


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
def test_chunked_upload(server: Server, size: int) -> None:
    """Chunks of odd sizes, with extensions and trailers, that arrive in odd pieces."""
    body = b"".join(pieces(size))
    raw = bytearray(f"POST /echo HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n".encode())
    at = 0
    for step in [1, 2, 1_000, 65_537, 333_333, 10**6]:
        part = body[at : at + step]
        if part:
            raw += b"%X;name=value\r\n%b\r\n" % (len(part), part)
        at += step
    raw += b"0\r\nx-trailer: 1\r\n\r\n"
    with server.h1() as line:
        for start in range(0, len(raw), 9_973):
            line.send_bytes(bytes(raw[start : start + 9_973]))
        assert line.reply().body == f"{digest(size)} {size}".encode()
        assert line.get().status == 200


BAD_REQUESTS: dict[str, tuple[str, set[int]]] = {
    "oversized field": (f"GET / HTTP/1.1\r\n{HOST}x-large: {'x' * 70_000}\r\n\r\n", {431}),
    "too many fields": (f"GET / HTTP/1.1\r\n{HOST}" + "x: y\r\n" * 9_000, {431}),
    "oversized target": (f"GET /{'x' * 70_000} HTTP/1.1\r\n{HOST}\r\n", {414, 431}),
    "no HTTP at all": ("hello there\r\n\r\n", {400}),
    "no host": ("GET / HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (f"GET / HTTP/1.1\r\n{HOST}host: other\r\n\r\n", {400}),
    "blank before the colon": (f"GET / HTTP/1.1\r\n{HOST}x-a : b\r\n\r\n", {400}),
    "NUL in a value": (f"GET / HTTP/1.1\r\n{HOST}x-a: b\0c\r\n\r\n", {400}),
    "two content-lengths": (f"POST / HTTP/1.1\r\n{HOST}content-length: 1\r\ncontent-length: 2\r\n\r\nxx", {400}),
    "content-length that is no number": (f"POST / HTTP/1.1\r\n{HOST}content-length: +5\r\n\r\nhello", {400}),
    "unknown transfer coding": (f"POST / HTTP/1.1\r\n{HOST}transfer-encoding: gzip\r\n\r\n", {400, 501}),
    "HTTP/2.0 without its ALPN": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "HTTP/3.0": (f"GET / HTTP/3.0\r\n{HOST}\r\n", {400, 505}),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_request(server: Server, case: str) -> None:
    """A request that is none is told so, and its connection ends."""
    raw, allowed = BAD_REQUESTS[case]
    with server.h1() as line:
        line.send_bytes(raw.encode("latin-1"))
        assert line.reply().status in allowed
        assert line.ending() == "close_notify"


def test_bad_chunk(server: Server, tag: str) -> None:
    """A chunk size that is none ends the connection; the application does not take what came for the whole."""
    with server.h1() as line:
        line.send_bytes(
            f"POST /echo?tag={tag} HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n".encode()
        )
        line.ending()
        assert b" 200 " not in line.left
    assert server.stats(tag)["ended"] == {"http.disconnect": 1}


def test_upgrade_to_h2c_is_ignored(server: Server) -> None:
    """Over TLS, ALPN alone chooses HTTP/2 (RFC 9113 section 3.1): the request is answered over HTTP/1.1."""
    with server.h1() as line:
        more = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
        for _ in range(2):
            reply = line.get(more=more)
            assert (reply.status, reply.body, reply.informational) == (200, b"ok", [])


def test_expect_100_continue(server: Server) -> None:
    """The client that waits for leave to send its body gets it, once, and then its answer."""
    with server.h1() as line:
        for _ in range(2):
            line.send_bytes(
                f"POST /echo HTTP/1.1\r\n{HOST}expect: 100-continue\r\ncontent-length: 70000\r\n\r\n".encode()
            )
            until = time.monotonic() + 5
            while b"\r\n\r\n" not in line.left:
                line.left += line.recv(until - time.monotonic())
            assert line.left.startswith(b"HTTP/1.1 100 ")
            line.send_bytes(b"".join(pieces(70_000)))
            reply = line.reply()
            assert [status for status, _ in reply.informational] == [100]
            assert reply.body == f"{digest(70_000)} 70000".encode()


def test_request_in_single_bytes(server: Server) -> None:
    """A request that arrives byte by byte, each in a TLS record of its own."""
    with server.h1() as line:
        for byte in f"POST /echo HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhello".encode():
            line.send_bytes(bytes([byte]))
        assert line.reply().body.endswith(b" 5")


def test_client_that_says_goodbye_early(server: Server, tag: str) -> None:
    """close_notify behind half a request ends the connection; nothing was asked."""
    with server.h1() as line:
        line.send_bytes(f"GET /?tag={tag} HTTP/1.1\r\n".encode())
        line.sock.unwrap()
    assert server.stats(tag)["seen"] == 0


def test_no_proxy(server: Server) -> None:
    """CONNECT is for proxies (RFC 9110 section 9.3.6): 501, as over HTTP/2, and the connection ends; no tunnel."""
    for target in ("localhost:443", "/ok", "*"):
        with server.h1() as line:
            line.send_bytes(f"CONNECT {target} HTTP/1.1\r\n{HOST}\r\nhello".encode())
            assert line.reply().status == 501
            assert line.ending()
