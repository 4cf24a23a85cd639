"""SIGTERM ends a server without losing a request: what is in flight is answered, what is not begun is refused."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults._app import digest, pieces
from tests.support.load import Tally, hammer
from tests.support.server import MIB, eventually
from tests.support.websocket import WebSocket
from tests.support.wire import LARGEST_WINDOW, PATIENCE, Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Server

EVERY_STREAM, NO_ERROR = LARGEST_WINDOW, 0


def sound(server: Server) -> None:
    assert "Traceback" not in server.log()
    assert "Fatal" not in server.log()


def test_requests_in_flight_are_answered(own: Server) -> None:
    """On HTTP/1.1, HTTP/2 and WebSockets; the two GOAWAYs are as RFC 9113 section 6.8 has them; exit code 0."""
    with (
        own.h1() as line,
        own.h2() as wire,
        WebSocket(own, "h1", "/ws-echo?s=1.5") as ws1,
        WebSocket(own, "h2", "/ws-echo?s=1.5") as ws2,
    ):
        for websocket in (ws1, ws2):
            websocket.accepted().send("in flight")
        line.send_bytes(b"GET /sleep?s=1.5 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        slow = [wire.open("/sleep?s=1.5") for _ in range(20)]
        large = wire.open(f"/down?n={8 * MIB}")
        upload = wire.open("/echo", "POST", end=False)
        body = b"".join(pieces(300_000))
        wire.say(upload, body[:150_000])
        time.sleep(0.6)
        own.signal()
        time.sleep(0.1)
        wire.say(upload, body[150_000:], end=True)
        assert line.reply().body == b"first-last"
        for stream in slow:
            assert wire.reply(stream).body == b"first-last"
        assert hashlib.sha256(wire.reply(large).body).hexdigest() == digest(8 * MIB)
        assert wire.reply(upload).body == f"{digest(300_000)} 300000".encode()
        assert wire.ending() == "close_notify"
        assert wire.goaways == [(EVERY_STREAM, NO_ERROR), (upload, NO_ERROR)]
        assert line.ending() == "close_notify"
        for websocket in (ws1, ws2):
            assert websocket.receive() == "in flight"
            assert websocket.receive() in (1001, 1012)  # going away
    assert own.exit_code() == 0
    sound(own)


def test_requests_on_their_way_are_answered(own: Server) -> None:
    """What a client sends before it has read the first GOAWAY is served; nothing is cut in half."""
    with own.h2() as wire:
        assert wire.get().status == 200
        early = wire.open("/sleep?s=0.3")
        own.signal()
        time.sleep(0.1)
        late = [wire.open("/stream") for _ in range(10)]  # the GOAWAY is there, and not yet read
        for stream in [early, *late]:
            assert wire.reply(stream).whole
        assert wire.ending() == "close_notify"
        assert wire.goaways == [(EVERY_STREAM, NO_ERROR), (late[-1], NO_ERROR)]
    assert own.exit_code() == 0
    sound(own)


def test_requests_around_the_signal_are_answered_or_refused(own: Server) -> None:
    """A client that goes on asking as fast as it can, and reads late: every stream up to the final GOAWAY is answered
    whole, and of those above it nothing was heard."""
    with own.h2() as wire:
        streams = []
        killer = threading.Timer(0.2, own.signal)
        killer.start()
        until = time.monotonic() + 1.0
        try:
            while time.monotonic() < until:
                for _ in range(10):
                    streams.append(wire.open("/stream" if len(streams) % 3 else "/"))
                while sum(not wire.replies[stream].over for stream in streams) > 50:
                    wire.frame()
        except (OSError, Ended):
            pass
        wire.ending()
        killer.join()
        last = wire.goaways[-1][0]
        assert wire.goaways[0] == (EVERY_STREAM, NO_ERROR)
        assert len(streams) > 50
        for stream in streams:
            reply = wire.replies[stream]
            if stream <= last:
                assert reply.whole, f"stream {stream} of {last}"
            else:
                assert reply.frames == 0, f"stream {stream} is above {last}"
    assert own.exit_code() == 0
    sound(own)


def load_that_moves(first: Server, second: Server, total: int) -> None:
    """Send `total` requests to the first server; SIGTERM ends it at a third of them, the rest is for the second."""
    ports = [first.port, second.port]
    context = first.context("h2")
    tally = Tally()

    def leave() -> None:
        eventually(lambda: tally.answered > total // 3, timeout=30)
        ports.pop(0)
        first.signal()

    killer = threading.Thread(target=leave)
    killer.start()
    asyncio.run(
        hammer(
            lambda: ports[0],
            lambda: context,
            tally,
            total=total,
            connections=8,
            streams=10,
            share=total // 16,
            path="/?tag=load",
        )
    )
    killer.join()
    assert tally.failed == []
    assert tally.answered == total
    assert first.exit_code() == 0
    assert second.stats("load")["seen"] > total // 16, "the second server was under load, too"


@pytest.mark.parametrize("workers", [1, 2])
def test_load_moves_to_another_server(start: Callable[..., Server], own: Server, workers: int) -> None:
    """A client under load that honours GOAWAY and goes to a second server sees no failed request."""
    first = start("--workers", str(workers), "--no-access-log")
    load_that_moves(first, own, 6_000 // workers)
    sound(first)


def test_idle_connections_are_closed(own: Server) -> None:
    """Who is silent holds nobody up; a client that came and said nothing neither."""
    with own.h1() as line, own.h2() as wire, socket.create_connection(("127.0.0.1", own.port)):
        assert line.get().status == 200
        assert wire.get().status == 200
        started = time.monotonic()
        own.signal(signal.SIGINT)
        assert wire.ending() == "close_notify"
        assert wire.goaways == [(EVERY_STREAM, NO_ERROR), (1, NO_ERROR)]
        assert line.ending() == "close_notify"
        with pytest.raises(OSError):
            own.h2()
    assert own.exit_code() == 0
    assert time.monotonic() - started < 15, "half of the grace for requests in flight"
    sound(own)


def test_idle_websockets_are_told(own: Server) -> None:
    """An open WebSocket hears that the server goes away, and so does its application."""
    with WebSocket(own, "h1", "/ws-echo") as ws1, WebSocket(own, "h2", "/ws-echo") as ws2:
        for websocket in (ws1, ws2):
            websocket.accepted().send("hello")
            assert websocket.receive() == "hello"
        own.signal()
        for websocket in (ws1, ws2):
            assert websocket.receive() in (1001, 1012)
    assert own.exit_code() == 0
    sound(own)


def test_http1_request_behind_the_signal(own: Server) -> None:
    """A request that comes on an idle HTTP/1.1 connection while the server is stopping is answered, and says close."""
    with own.h1() as line, own.h1() as busy:
        assert line.get().status == 200
        busy.send_bytes(
            b"GET /sleep?s=0.5 HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        time.sleep(0.1)
        own.signal()
        time.sleep(0.2)
        late = line.get("/stream")
        assert (late.status, late.body, late.headers["connection"]) == (200, b"0;1;2;3;4;", "close")
        assert line.ending() == "close_notify"
        assert busy.reply().body == b"first-last"
        rest = busy.reply()  # the pipelined one: answered whole or not at all
        assert rest.status is None or rest.whole
    assert own.exit_code() == 0
    sound(own)


def test_http1_clients_under_load_are_told_to_close(own: Server) -> None:
    """Clients that ask without a pause are answered each time, until one answer says `connection: close`."""
    answers: list[int] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with own.h1() as line:
                for number in range(100_000):
                    reply = line.get("/stream" if number % 3 else "/")
                    assert reply.whole
                    if reply.headers.get("connection") == "close":
                        assert line.ending() == "close_notify"
                        answers.append(number)
                        return
        except BaseException as failure:
            failures.append(failure)

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    own.signal()
    for client in clients:
        client.join(20)
    assert failures == []
    assert len(answers) == 6
    assert own.exit_code() == 0
    sound(own)


def test_handshake_under_way_is_served(own: Server) -> None:
    """A client whose ClientHello was accepted before the signal gets its answer."""
    plain = socket.create_connection(("127.0.0.1", own.port), PATIENCE)
    time.sleep(0.1)
    own.signal()
    time.sleep(0.1)
    with own.context("http/1.1").wrap_socket(plain, server_hostname="localhost") as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while got := sock.recv(65_536):
            answer += got
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"4;" in answer
    assert own.exit_code() == 0
    sound(own)


def test_end_of_the_grace(start: Callable[..., Server]) -> None:
    """What takes longer than --graceful-timeout is cut, and a client over HTTP/2 is told which streams were seen."""
    own = start("--graceful-timeout", "0.5")
    with own.h2() as wire, own.h1() as line:
        stream = wire.open("/hold")
        line.send_bytes(b"GET /hold HTTP/1.1\r\nhost: localhost\r\n\r\n")
        time.sleep(0.1)
        started = time.monotonic()
        own.signal()
        wire.ending()
        line.ending()
        assert time.monotonic() - started > 0.3
        assert wire.goaways == [(EVERY_STREAM, NO_ERROR), (stream, NO_ERROR)]
    assert own.exit_code() == 0
    sound(own)


@pytest.mark.parametrize("app", ["hold", "in_a_thread", "stubborn"])
def test_second_signal_stops_at_once(start: Callable[..., Server], app: str) -> None:
    """Whatever the application is at: waiting, in a thread, deaf to cancellation."""
    own = start(app=f"tests.faults._slow_to_stop:{app}")
    with own.h2() as wire:
        wire.open("/")
        own.logged("request begun")
        own.signal()
        wire.until(lambda: bool(wire.goaways))
        assert own.process.poll() is None
        own.signal()
        assert own.exit_code() == 0


def test_second_signal_does_not_wait_for_the_application_s_shutdown(start: Callable[..., Server]) -> None:
    own = start(app="tests.faults._slow_to_stop:slow_lifespan")
    assert own.port
    own.signal()
    own.logged("shutdown begun")
    own.signal(signal.SIGINT)
    assert own.exit_code() == 0


@pytest.mark.parametrize("app", ["in_a_thread", "stubborn"])
def test_grace_ends_whatever_the_application_is_at(start: Callable[..., Server], app: str) -> None:
    """--graceful-timeout bounds the end for applications that cannot be cancelled, too."""
    own = start("--graceful-timeout", "0.3", app=f"tests.faults._slow_to_stop:{app}")
    with own.h2() as wire:
        wire.open("/")
        own.logged("request begun")
        own.signal()
        assert own.exit_code() == 0
