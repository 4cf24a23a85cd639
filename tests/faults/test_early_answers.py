"""An answer that comes before the request's body is whole, and its connection and the other streams stay sound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults._app import digest, pieces
from tests.support.wire import data, reset

if TYPE_CHECKING:
    from tests.support.server import Server

ANSWER = 100_000
WHOLE = b"".join(pieces(ANSWER))


@pytest.mark.parametrize("end", [True, False], ids=["END_STREAM", "open"])
@pytest.mark.parametrize("size", [10, 2**20], ids=["10 B", "1 MiB"])
@pytest.mark.parametrize("late", [0, 0.02, 0.1])
def test_data_behind_the_answer(server: Server, late: float, size: int, end: bool) -> None:
    """Late DATA is taken and thrown away; 25 requests that follow on the connection succeed."""
    with server.h2() as wire:
        other = wire.open("/stream")
        echo = wire.open("/echo", "POST", end=False)
        wire.say(echo, b"".join(pieces(50_000)))
        early = wire.open(f"/early?n={ANSWER}", "POST", end=False)
        if late:
            assert wire.reply(early).whole
            time.sleep(late)
        wire.say(early, bytes(size), end=end)
        reply = wire.reply(early)
        assert (reply.status, bytes(reply.body), reply.whole) == (413, WHOLE, True)
        assert wire.reply(other).body == b"0;1;2;3;4;"
        for _ in range(25):
            assert wire.get().status == 200
        wire.send(data(echo, b"", end=True))
        assert wire.reply(echo).body == f"{digest(50_000)} 50000".encode()
        assert reply.reset is None
        assert not wire.goaways


def test_bodies_that_nobody_reads_do_not_starve_the_connection(server: Server, tag: str) -> None:
    """Forty uploads that wait unread, five times the connection's window, leave room for one that is read."""
    before = server.rss()
    with server.h2() as wire:
        for _ in range(40):
            stream = wire.open(f"/gate?tag={tag}", "POST", end=False)
            wire.say(stream, bytes(131_072))
        stream = wire.open("/echo", "POST", end=False)
        wire.say(stream, b"".join(pieces(300_000)), end=True)
        assert wire.reply(stream).body == f"{digest(300_000)} 300000".encode()
        assert server.rss() - before < 16
        with server.h1() as line:
            assert line.get(f"/open?tag={tag}").status == 200


def test_early_answers_leave_nothing_behind(server: Server) -> None:
    """4,000 requests whose end comes behind their answer: nothing of them is kept."""
    with server.h2() as wire:

        def fifty() -> None:
            heads = [wire.head("/early", "POST", end=False) for _ in range(50)]
            wire.send(*heads)
            for head in heads:
                assert wire.reply(head.stream_id).status == 413
            wire.send(*[data(head.stream_id, end=True) for head in heads])
            wire.replies.clear()

        fifty()
        before = server.rss()
        for _ in range(80):
            fifty()
        assert server.rss() - before < 4


def test_answer_and_reset_by_the_client(server: Server) -> None:
    """The client may also take the rest of its request back: that is no error."""
    with server.h2() as wire:
        for _ in range(25):
            stream = wire.open("/early", "POST", end=False)
            assert wire.reply(stream).status == 413
            wire.send(data(stream, b"x"), reset(stream, 0))
        assert wire.get().status == 200


def test_late_trailers(server: Server) -> None:
    """Trailers of a request that was answered already are no error either."""
    with server.h2() as wire:
        stream = wire.open("/early", "POST", end=False)
        assert wire.reply(stream).status == 413
        frame = wire.fields([("x-sum", "1")], stream=stream)
        wire.send(frame)
        assert wire.get().status == 200


def test_padding_is_flow_controlled_too(server: Server) -> None:
    """A body of padding alone uses up windows, which are given back (RFC 9113 section 6.1)."""
    with server.h2() as wire:
        stream = wire.open("/echo", "POST", end=False)
        wire.say(stream, bytes(5_000), size=1, pad=255, end=True)  # 257 bytes each: 1.3 MB, more than either window
        assert wire.reply(stream).body.endswith(b" 5000")


@pytest.mark.parametrize("size", [10**6, 30 * 10**6], ids=["1 MB", "30 MB"])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_http1_client_gets_its_answer_though_it_is_still_sending(server: Server, size: int, chunked: bool) -> None:
    """The server goes on taking what the client sends, so that no reset overtakes the answer."""
    with server.h1() as line:
        field = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        line.send_bytes(f"POST /early?n={ANSWER} HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n".encode())
        piece = bytes(100_000)
        if chunked:
            piece = b"186a0\r\n" + piece + b"\r\n"
        for _ in range(size // 100_000):
            line.send_bytes(piece)
        reply = line.reply()
        assert (reply.status, bytes(reply.body), reply.whole) == (413, WHOLE, True)
        assert reply.headers["connection"] == "close", "it has to know that nothing more is answered here"
        assert line.ending() == "close_notify"


def test_http1_small_body_that_nobody_reads_keeps_the_connection(server: Server) -> None:
    """Where the whole request was there, an application that did not read it costs no connection."""
    with server.h1() as line:
        for _ in range(25):
            line.send_bytes(b"POST /early HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello")
            assert line.reply().status == 413
