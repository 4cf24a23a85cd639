"""Clients that leave in the middle, politely or not: applications hear of it, and nothing is left behind."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from hyperframe.frame import GoAwayFrame

from tests.support.server import eventually
from tests.support.wire import NO_ERROR, data, reset

if TYPE_CHECKING:
    from tests.support.server import Server


def test_client_goaway(server: Server) -> None:
    """A client that says GOAWAY is still owed the responses in flight; then the connection ends."""
    with server.h2() as wire:
        streams = [wire.open("/sleep?s=0.3"), wire.open("/down?n=1000000"), wire.open("/stream")]
        wire.send(GoAwayFrame(0, 0, NO_ERROR))
        replies = [wire.reply(stream) for stream in streams]
        assert [len(reply.body) for reply in replies] == [10, 1_000_000, 10]
        assert all(reply.whole for reply in replies)
        assert wire.ending() == "close_notify"


def test_reset_in_the_middle_of_an_upload(server: Server, tag: str) -> None:
    """The application receives http.disconnect, and its task ends."""
    with server.h2() as wire:
        stream = wire.open(f"/echo?tag={tag}", "POST", end=False)
        wire.send(data(stream, bytes(10_000)))
        eventually(lambda: server.stats(tag)["active"] == 1)
        wire.send(reset(stream))
        eventually(lambda: server.stats(tag)["active"] == 0)
        assert server.stats(tag)["ended"] == {"http.disconnect": 1}
        assert wire.get().status == 200


@pytest.mark.parametrize("path", ["/endless", "/trickle"])
def test_reset_in_the_middle_of_a_download(server: Server, tag: str, path: str) -> None:
    """The application's next send raises OSError, and its task ends."""
    with server.h2() as wire:
        stream = wire.open(f"{path}?tag={tag}")
        wire.until(lambda: bool(wire.replies[stream].body))
        wire.send(reset(stream))
        eventually(lambda: server.stats(tag)["active"] == 0)
        assert server.stats(tag)["ended"] == {"OSError": 1}
        assert wire.get().status == 200


@pytest.mark.parametrize("how", ["reset", "close_notify", "half-close"])
def test_client_disappears(server: Server, how: str, tag: str) -> None:
    """The end of a connection under 50 streams ends the 50 applications, whatever they were at."""
    with server.h2() as wire:
        for number in range(50):
            path = ("/hold", "/endless", "/trickle", "/echo")[number % 4]
            stream = wire.open(f"{path}?tag={tag}", "POST", end=number % 2 == 0)
            if number % 2:
                wire.send(data(stream, b"some"))
        eventually(lambda: server.stats(tag)["seen"] == 50)
        assert server.stats(tag)["active"] >= 37
        if how == "reset":
            wire.vanish()
        elif how == "close_notify":
            with suppress(OSError):  # the server was still sending
                wire.sock.unwrap()
        else:
            socket.socket.shutdown(wire.sock, socket.SHUT_WR)  # the TLS socket's own would go back to plain text
        eventually(lambda: server.stats(tag)["active"] == 0)
    assert set(server.stats(tag)["ended"]) <= {"OSError", "http.disconnect"}


def test_descriptors_are_given_back(server: Server) -> None:
    """Connections that end in every way there is leave no descriptor open."""
    process = psutil.Process(server.process.pid)
    before = process.num_fds()
    for number in range(40):
        wire = server.h2()
        wire.open(("/hold", "/endless", "/stream")[number % 3])
        (wire.vanish, wire.close, wire.sock.close)[number % 3]()
        line = server.h1()
        line.send_bytes(b"GET /endless HTTP/1.1\r\n" + b"host: localhost\r\n\r\n" * (number % 2))
        (line.vanish if number % 3 else line.close)()
        socket.create_connection(("127.0.0.1", server.port)).close()
    eventually(lambda: process.num_fds() <= before)


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_request_without_an_answer_is_logged(server: Server, over: str) -> None:
    """What a client has asked for is in the access log, once, though it left before the answer."""
    after = server.log_end()
    if over == "h1":
        for path in ("/hold", "/endless"):
            with server.h1() as line:
                line.send_bytes(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                time.sleep(0.2)
    else:
        with server.h2() as wire:
            streams = [wire.open("/hold"), wire.open("/endless")]
            time.sleep(0.2)
            wire.send(*[reset(stream) for stream in streams])
            assert wire.get().status == 200
    for path in ("/hold", "/endless"):
        server.logged(f"path={path} ", after)
        assert server.log(after).count(f"path={path} ") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells of an end behind what was not read")
@pytest.mark.parametrize("field", ["", "connection: upgrade\r\nupgrade: tea\r\n"])
@pytest.mark.parametrize("how", ["reset", "close_notify"])
def test_client_disappears_behind_what_nobody_reads(server: Server, how: str, field: str, tag: str) -> None:
    """Requests are pipelined behind one that is held until the server reads no more; then their client leaves. The
    application hears of it within seconds, though the client's end is behind what is not read.
    """
    with server.h1() as line:
        line.send_bytes(f"GET /hold?tag={tag} HTTP/1.1\r\nhost: localhost\r\n{field}\r\n".encode())
        line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * 4_000)
        eventually(lambda: server.stats(tag)["active"] == 1)
        if how == "reset":
            line.vanish()
        else:
            with suppress(OSError):
                line.sock.settimeout(1)
                line.sock.unwrap()
            line.close()
        eventually(lambda: server.stats(tag)["active"] == 0)
        assert server.stats(tag)["ended"] == {"http.disconnect": 1}
