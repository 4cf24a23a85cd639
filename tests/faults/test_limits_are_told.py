"""Who breaks a limit is told so, in the protocol's own way, and written down; the others feel nothing."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import ContinuationFrame, ExtensionFrame, PingFrame, PriorityFrame, SettingsFrame

from tests.support.admin import Scrape
from tests.support.server import eventually
from tests.support.trust import Client, Trusting, trusting
from tests.support.wire import LARGEST_WINDOW, PATIENCE, Ended, data, reset, window

if TYPE_CHECKING:
    from collections.abc import Iterator

ENHANCE_YOUR_CALM, REFUSED_STREAM = 11, 7


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    """A server with little patience."""
    limits = {
        "HANDCLASP_MAX_CONNECTIONS_PER_IDENTITY": "3",
        "HANDCLASP_MAX_HANDSHAKES": "20",
        "HANDCLASP_MAX_HEADER_FIELDS": "30",
        "HANDCLASP_MAX_HEADER_BYTES": "8192",
        "HANDCLASP_MAX_BODY": "100000",
        "HANDCLASP_MAX_STREAMS": "5",
        "HANDCLASP_HEADER_TIMEOUT": "1",
        "HANDCLASP_STALL_TIMEOUT": "2s",
        "HANDCLASP_KEEP_ALIVE_TIMEOUT": "2",
        "HANDCLASP_MAX_RESETS": "50",
        "HANDCLASP_RESETS_PER_SECOND": "1",
        "HANDCLASP_MAX_CONTROL_FRAMES": "60",
        "HANDCLASP_CONTROL_FRAMES_PER_SECOND": "1",
        "HANDCLASP_MAX_CONTINUATIONS": "4",
    }
    folder = tmp_path_factory.mktemp("limits")
    with trusting(folder, "--admin-bind", f"unix:{folder / 'admin'}", **limits) as made:
        yield made


@pytest.fixture
def rose(there: Trusting, request: pytest.FixtureRequest) -> Client:
    """A client whom no other test has a connection of."""
    return there.client("rose-" + "".join(filter(str.isalnum, request.node.name))[:40].lower())


def identity(client: Client) -> str:
    return client.folder.name.rpartition("-")[0] + "@example.com"


def test_connections_of_one_identity(there: Trusting, rose: Client) -> None:
    """HTTP/2 is told by GOAWAY, HTTP/1.1 by 503; one that ends makes room; somebody else has room of their own."""
    with ExitStack() as stack:
        held = [stack.enter_context(rose.h2()) for _ in range(3)]
        assert {wire.get().status for wire in held} == {200}
        with rose.h2() as wire:
            assert wire.goaway_error() == ENHANCE_YOUR_CALM
        with rose.h1() as line:
            assert line.get().status == 503
            assert line.ending()
        with there.client("somebody-else").h2() as wire:
            assert wire.get().status == 200
        assert {wire.get().status for wire in held} == {200}
    found = there.audited("connection.cut", identity=identity(rose))
    assert found[0]["reason"] == "too many connections of one identity"

    def room() -> bool:
        with rose.h1() as line:
            return line.get().status == 200

    eventually(room)


def test_half_open_handshakes_make_room(there: Trusting, rose: Client) -> None:
    """The oldest goes first: who has come to speak gets through, however many hold the door."""
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", there.server.port))) for _ in range(60)]
        with rose.h2() as wire:
            assert wire.get().status == 200
        idle[0].settimeout(PATIENCE)
        assert idle[0].recv(1) == b""
    there.audited("handshake.refused", reason="it was the slowest of too many handshakes")


def test_fields(there: Trusting, rose: Client) -> None:
    """Too many: 431 (RFC 6585 5), and the HTTP/2 connection goes on."""
    many = [(f"x-{number}", "y") for number in range(40)]
    with rose.h2() as wire:
        assert wire.get(more=many).status == 431
        assert wire.get().status == 200
    with rose.h1() as line:
        assert line.get(more="".join(f"{name}: {value}\r\n" for name, value in many)).status == 431
    there.audited("request.refused", status=431, identity=identity(rose))


def test_a_large_head(there: Trusting, rose: Client) -> None:
    """HTTP/1.1: 431. HTTP/2: the connection ends, since its compression state is not to be had without the rest."""
    with rose.h1() as line:
        assert line.get(more=f"x: {'y' * 30_000}\r\n").status == 431
    with rose.h2() as wire:
        wire.open(more=[("x", "y" * 12_000)])
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
    there.audited("request.refused", status=431, identity=identity(rose))
    there.audited("connection.cut", identity=identity(rose), reason="the request's head is too large")


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body(there: Trusting, rose: Client, announced: bool) -> None:
    """413, at once where the length is announced, else when it is passed; other streams go on."""
    length = [("content-length", "200000")] if announced else []
    with rose.h2() as wire:
        other = wire.open("/hold")
        stream = wire.open("/echo", "POST", end=False, more=length)
        if not announced:
            wire.say(stream, b"x" * 200_000, end=True)
        assert wire.reply(stream).status == 413
        assert not wire.replies[other].over
        assert wire.get().status == 200
    with rose.h1() as line:
        framing = "content-length: 200000" if announced else "transfer-encoding: chunked"
        line.send_bytes(f"POST /echo HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n".encode())
        if not announced:
            line.shove(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", 3)
        assert line.reply("POST").status == 413
    there.audited("request.refused", status=413, identity=identity(rose))


def test_a_body_of_just_that_size(rose: Client) -> None:
    with rose.h2() as wire:
        stream = wire.open("/echo", "POST", end=False, more=[("content-length", "100000")])
        wire.say(stream, b"x" * 100_000, end=True)
        assert wire.reply(stream).status == 200


def test_streams(there: Trusting, rose: Client) -> None:
    """The sixth at once is refused, unprocessed: safe to send again (RFC 9113 8.7)."""
    with rose.h2() as wire:
        held = [wire.open("/gate?tag=limit") for _ in range(5)]
        refused = wire.reply(wire.open("/"))
        assert refused.reset == REFUSED_STREAM
        with rose.h1() as line:
            assert line.get("/open?tag=limit").status == 200
        assert {wire.reply(stream).status for stream in held} == {200}
    there.audited("request.refused", status="REFUSED_STREAM", identity=identity(rose))


def test_a_slow_head(there: Trusting, rose: Client) -> None:
    """408 (RFC 9110 15.5.9), counted from its first byte, however it trickles."""
    with rose.h1() as line:
        started = time.monotonic()
        line.send_bytes(b"GET / HTTP/1.1\r\nhost: local")
        time.sleep(0.5)
        line.send_bytes(b"host\r\nx: y\r\n")
        assert line.reply().status == 408
        assert 0.8 < time.monotonic() - started < 2.5
        assert line.ending()
    there.audited("request.refused", status=408, identity=identity(rose))


def test_an_idle_connection(rose: Client) -> None:
    """GOAWAY without an error; HTTP/1.1 is closed."""
    with rose.h2() as wire, rose.h1() as line:
        assert wire.get().status == line.get().status == 200
        assert wire.goaway_error(timeout=6) == 0
        assert line.ending(6) == "close_notify"


def test_a_window_that_stays_closed(there: Trusting, rose: Client) -> None:
    """A stream of which nothing is taken: GOAWAY ENHANCE_YOUR_CALM. One that is taken slowly goes on."""
    with rose.h2(stream_window=0) as wire:
        wire.open("/endless")
        assert wire.goaway_error(timeout=12) == ENHANCE_YOUR_CALM
    there.audited("connection.cut", identity=identity(rose), reason="a stream's window has stayed closed")


def test_a_socket_that_is_not_read(there: Trusting, rose: Client) -> None:
    with rose.h1(receive_buffer=4096) as line:
        line.send_bytes(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n")
        there.audited("connection.opened", identity=identity(rose))
        reason = "the peer takes nothing of what is owed to it"
        eventually(lambda: bool(there.audited("connection.cut", identity=identity(rose), reason=reason)), 12)


def test_all_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Beyond the process's own limit nobody is heard; one that ends makes room."""
    with trusting(tmp_path_factory.mktemp("all"), HANDCLASP_MAX_CONNECTIONS="2") as there:
        sam = there.client("sam")
        with sam.h2() as first, sam.h2() as second:
            assert first.get().status == second.get().status == 200
            with pytest.raises((OSError, Ended)), sam.h1() as line:
                line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                line.recv()
            there.audited("connection.refused", reason="too many connections")
            assert first.get().status == 200

        def room() -> bool:
            try:
                with sam.h1() as line:
                    return line.get().status == 200
            except (OSError, Ended):
                return False

        eventually(room)


def test_resets(there: Trusting, rose: Client) -> None:
    """`max_resets`, by the client (CVE-2023-44487) or by the server that is made to (CVE-2025-8671)."""
    with rose.h2() as wire:
        for number in range(40):
            head = wire.head("/hold")
            wire.send(head, reset(head.stream_id) if number % 2 else window(head.stream_id, LARGEST_WINDOW))
        assert wire.get().status == 200, "forty are borne with"
        for _ in range(20):
            head = wire.head("/hold")
            wire.send(head, reset(head.stream_id))
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
    there.audited("connection.cut", identity=identity(rose), reason="streams reset too fast")


FRAMES_OF_NO_USE = {
    "PING": lambda _: PingFrame(0, b"01234567"),
    "SETTINGS": lambda _: SettingsFrame(0, {3: 100}),
    "PRIORITY": lambda _: PriorityFrame(1),
    "unknown": lambda _: ExtensionFrame(0xBB, 0),
    "empty DATA": data,
}


@pytest.mark.parametrize("kind", FRAMES_OF_NO_USE)
def test_frames_of_no_use(there: Trusting, rose: Client, kind: str) -> None:
    """`max_control_frames`: each kind is work for nothing (CVE-2019-9512, 9515, 9518)."""
    with rose.h2() as wire:
        stream = wire.open("/echo", "POST", end=False)
        raw = FRAMES_OF_NO_USE[kind](stream).serialize()
        wire.send_bytes(raw * 40)
        assert wire.get().status == 200, "forty are borne with"
        wire.shove(raw * 30, 1)
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
    found = there.audited("connection.cut", identity=identity(rose))
    assert found[0]["reason"].startswith("too many frames of no use")


def test_continuations(there: Trusting, rose: Client) -> None:
    """`max_continuations` (VU#421644): one head in as many frames is served, in more it is not."""
    for frames, served in ((4, True), (5, False)):
        with rose.h2() as wire:
            head = wire.head("/")
            block, head.data = head.data, head.data[:1]
            head.flags.discard("END_HEADERS")
            pieces = [ContinuationFrame(head.stream_id, block[n : n + 1]) for n in range(1, frames)]
            last = ContinuationFrame(head.stream_id, block[frames:], flags=["END_HEADERS"])
            wire.send(head, *pieces, last)
            if served:
                assert wire.reply(head.stream_id).status == 200
            else:
                assert wire.goaway_error() == ENHANCE_YOUR_CALM
    there.audited("connection.cut", identity=identity(rose), reason="too many CONTINUATION frames for one head")


def test_each_is_counted(there: Trusting, rose: Client) -> None:
    """By what was answered, or as a connection that was ended for a limit; a handshake by its reason."""
    where = str(there.folder / "admin")
    before = Scrape(where)

    def more(name: str, **labels: str) -> bool:
        return Scrape(where).value(name, **labels) > before.value(name, **labels)

    with rose.h2() as wire:
        wire.get(more=[(f"x-{number}", "y") for number in range(40)])
        wire.reply(wire.open("/echo", "POST", end=False, more=[("content-length", "200000")]))
        held = [wire.open("/gate?tag=counted") for _ in range(6)]
        assert wire.reply(held[-1]).reset == REFUSED_STREAM
        wire.shove(PingFrame(0, b"01234567").serialize() * 100, 1)
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
    with rose.h1() as line:
        line.send_bytes(b"GET / HTTP/1.1\r\n")
        assert line.reply().status == 408
    for status in ("431", "413", "408", "REFUSED_STREAM"):
        assert more("handclasp_requests_refused_total", status=status), status
    assert more("handclasp_connections_ended_total", how="cut", reason="limit")
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", there.server.port)))
        eventually(lambda: more("handclasp_handshakes_total", result="refused", reason="too many"))
