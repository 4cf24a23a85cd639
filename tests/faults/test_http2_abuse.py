"""A client that abuses HTTP/2 loses its connection, or its stream; others feel nothing, and memory stays bounded."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from hyperframe.frame import ContinuationFrame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame

from tests.faults._server import eventually
from tests.faults._wire import HEADER_TABLE_SIZE, LARGEST_WINDOW, Ended, data, reset, window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults._server import Server
    from tests.faults._wire import Wire

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0, 1, 3, 5
FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 6, 7, 9, 11


@pytest.fixture
def bystander(server: Server) -> Iterator[list[float]]:
    """Another client, on a connection of its own, asks all the while. Every answer must come, and soon."""
    times: list[float] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            with server.h2() as wire:
                while not (stop.is_set() and times):
                    started = time.monotonic()
                    assert wire.get("/", timeout=5).status == 200
                    times.append(time.monotonic() - started)
                    time.sleep(0.005)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=ask)
    thread.start()
    yield times
    stop.set()
    thread.join()
    assert not failures, f"the bystander failed: {failures}"
    assert max(times) < 3.0, f"the bystander waited {max(times):.2f} s"


def last_goaway(wire: Wire, timeout: float = 10.0) -> int:
    """The error of the GOAWAY with which the server ends the connection."""
    ending = wire.ending(timeout)
    assert wire.goaways, f"no GOAWAY; the connection ended with {ending}"
    return wire.goaways[-1][1]


def shove(wire: Wire, raw: bytes, times: int) -> None:
    """Send without a look at what comes back, for as long as the server takes it."""
    wire.sock.settimeout(10)
    try:
        for _ in range(times):
            wire.send_bytes(raw)
    except OSError:
        pass


# Resets.


def test_rapid_reset(server: Server, bystander: list[float], tag: str) -> None:
    """10,000 requests that are taken back at once end in GOAWAY ENHANCE_YOUR_CALM (CVE-2023-44487)."""
    with server.h2() as wire:
        for _ in range(100):
            frames = []
            for _ in range(100):
                head = wire.head(f"/hold?tag={tag}")
                frames += [head, reset(head.stream_id)]
            try:
                wire.send(*frames)
            except OSError:
                break
        assert last_goaway(wire) == ENHANCE_YOUR_CALM
    assert server.stats(tag)["seen"] <= 1_200
    eventually(lambda: server.stats(tag)["active"] == 0)


def test_resets_that_the_server_is_made_to_send(server: Server, bystander: list[float]) -> None:
    """Frames that make the server reset its own streams count as well: MadeYouReset (CVE-2025-8671)."""
    with server.h2() as wire:
        for _ in range(100):
            frames = []
            for _ in range(50):
                head = wire.head("/hold")
                overflow = window(head.stream_id, LARGEST_WINDOW)
                frames += [head, overflow]
            try:
                wire.send(*frames)
            except OSError:
                break
        assert last_goaway(wire) == ENHANCE_YOUR_CALM


def test_data_on_requests_that_have_ended(server: Server, bystander: list[float]) -> None:
    """The same by DATA behind END_STREAM."""
    with server.h2() as wire:
        for _ in range(100):
            frames = []
            for _ in range(50):
                head = wire.head("/hold")
                frames += [head, data(head.stream_id, b"x")]
            try:
                wire.send(*frames)
            except OSError:
                break
        assert last_goaway(wire) in {ENHANCE_YOUR_CALM, STREAM_CLOSED}


def test_a_few_resets_are_no_abuse(server: Server) -> None:
    """A client that takes back 200 of its requests goes on being served on the same connection."""
    with server.h2() as wire:
        for _ in range(10):
            frames = []
            for _ in range(20):
                head = wire.head("/hold")
                frames += [head, reset(head.stream_id)]
            wire.send(*frames)
            assert wire.get().status == 200
        assert not wire.goaways


def test_applications_at_work_are_bounded(server: Server, bystander: list[float], tag: str) -> None:
    """Resets make room for new streams before the applications have ended; those at work stay bounded all the same."""
    with server.h2() as wire:
        heads = [wire.head(f"/gate?tag={tag}") for _ in range(450)]
        wire.send(*[frame for head in heads for frame in (head, reset(head.stream_id))])
        assert wire.get().reset == REFUSED_STREAM
        assert server.stats(tag)["active"] == server.stats(tag)["seen"] <= 200
        with server.h1() as line:
            assert line.get(f"/open?tag={tag}").status == 200
        assert wire.get().status == 200


# Headers.


def test_continuation_flood(server: Server, bystander: list[float]) -> None:
    """A header block that never ends does (CVE-2024-27316)."""
    with server.h2() as wire:
        frame = HeadersFrame(1, wire.encoder.encode([(":method", "GET")]))
        wire.send(frame)
        shove(wire, ContinuationFrame(1, b"\x00\x01a\x01b" * 200).serialize(), 10_000)
        assert last_goaway(wire) in {ENHANCE_YOUR_CALM, PROTOCOL_ERROR}


def test_empty_continuation_flood(server: Server, bystander: list[float]) -> None:
    """Nor may CONTINUATION frames be without end because they hold nothing."""
    with server.h2() as wire:
        wire.send(HeadersFrame(1, wire.encoder.encode([(":method", "GET")])))
        shove(wire, ContinuationFrame(1, b"").serialize() * 100, 100)
        assert last_goaway(wire) in {ENHANCE_YOUR_CALM, PROTOCOL_ERROR}


def test_header_bomb(server: Server, bystander: list[float]) -> None:
    """A kilobyte of references to one large field is not unpacked to megabytes."""
    before = server.rss()
    with server.h2() as wire:
        head = wire.head("/", more=[("x-bomb", "x" * 3_900)])
        head.data += bytes([0xBE]) * 12_000  # index 62: the field that was added last, 4 kB each time
        wire.send(head)
        assert last_goaway(wire) == ENHANCE_YOUR_CALM
    assert server.rss() - before < 16


def test_oversized_header_list(server: Server, bystander: list[float]) -> None:
    """More than 64 KiB of header fields are refused: by a status or by an end, and by no more than that."""
    with server.h2() as wire:
        more = [(f"x-{number}", "y" * 1_000) for number in range(100)]
        head = wire.head("/", more=more)
        block, head.data = head.data, head.data[:16_000]
        head.flags.discard("END_HEADERS")
        rest = [ContinuationFrame(head.stream_id, block[at : at + 16_000]) for at in range(16_000, len(block), 16_000)]
        rest[-1].flags.add("END_HEADERS")
        wire.send(head, *rest)
        try:
            assert wire.reply(head.stream_id).status == 431
        except Ended:
            assert wire.goaways[-1][1] in {ENHANCE_YOUR_CALM, PROTOCOL_ERROR}


GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no method": GOOD[1:],
    "no scheme": [GOOD[0], *GOOD[2:]],
    "no path": GOOD[:3],
    "empty path": [*GOOD[:3], (":path", "")],
    "two methods": [GOOD[0], *GOOD],
    "two paths": [*GOOD, (":path", "/other")],
    "unknown pseudo-header": [*GOOD, (":secret", "1")],
    "response pseudo-header": [*GOOD, (":status", "200")],
    "pseudo-header behind a field": [*GOOD[:3], ("x-a", "b"), GOOD[3]],
    "upper-case name": [*GOOD, ("X-Upper", "1")],
    "blank in a name": [*GOOD, ("x a", "1")],
    "empty name": [*GOOD, ("", "1")],
    "line break in a value": [*GOOD, ("x-a", "b\r\nc: d")],
    "NUL in a value": [*GOOD, ("x-a", "b\0c")],
    "line break in the path": [*GOOD[:3], (":path", "/\r\nx: y")],
    "connection": [*GOOD, ("connection", "close")],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "te without trailers": [*GOOD, ("te", "gzip")],
    "host that differs from :authority": [*GOOD, ("host", "elsewhere")],
    "content-length without a body": [*GOOD, ("content-length", "5")],
    "content-length that is no number": [*GOOD, ("content-length", "+5")],
    "two content-lengths": [*GOOD, ("content-length", "0"), ("content-length", "1")],
    "path without a slash": [*GOOD[:3], (":path", "index")],
    "path that is a URL": [*GOOD[:3], (":path", "https://elsewhere/")],
    "path that is not ASCII": [*GOOD[:3], (":path", "/\xe4")],
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request(server: Server, case: str, tag: str) -> None:
    """A malformed request never reaches the application: 400, a reset or the end of its connection."""
    fields = [(name, value if value != "/" else f"/?tag={tag}") for name, value in MALFORMED[case]]
    with server.h2() as wire:
        stream = wire.fields([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])
        wire.send(stream)
        try:
            reply = wire.reply(stream.stream_id)
            assert reply.status == 400 or reply.reset == PROTOCOL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == PROTOCOL_ERROR
    assert server.stats(tag)["seen"] == 0


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (1, 2, 3, 0), (2, 3, 1, 0)])
def test_order_of_pseudo_headers_does_not_matter(server: Server, order: tuple[int, ...]) -> None:
    """Node sends :path before :method; nothing forbids it (RFC 9113 section 8.3)."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/method")]
    with server.h2() as wire:
        head = wire.fields([fields[at] for at in order])
        wire.send(head)
        assert wire.reply(head.stream_id).body == b"POST"


@pytest.mark.parametrize("sent", [3, 7])
def test_body_that_is_not_as_long_as_it_says(server: Server, sent: int) -> None:
    """A body shorter or longer than its content-length is refused; the application does not take it for whole."""
    with server.h2() as wire:
        stream = wire.open("/echo", "POST", end=False, more=[("content-length", "5")])
        wire.send(data(stream, b"x" * sent, end=True))
        try:
            assert wire.reply(stream).reset == PROTOCOL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == PROTOCOL_ERROR


def test_size_of_the_header_table_is_ours(server: Server) -> None:
    """A client that allows us a table of 1 GiB does not make each response search one."""
    with server.h2(settings={HEADER_TABLE_SIZE: 2**30}) as wire:
        for _ in range(10):
            streams = [wire.open("/distinct") for _ in range(50)]
            for stream in streams:
                assert wire.reply(stream).status == 200
        assert len(wire.decoder.header_table.dynamic_entries) < 200, "2,000 fields were worth an entry"


# Streams and windows.


def test_data_on_streams_that_are_closed(server: Server, bystander: list[float]) -> None:
    """DATA on a stream that the client has reset costs it that DATA; the connection's window is given back."""
    with server.h2() as wire:
        stream = wire.open("/hold", "POST", end=False)
        wire.send(reset(stream))
        for _ in range(200):
            wire.send(data(stream, bytes(16_000)))  # 3 MB, three times the connection's window
        assert wire.get("/").status == 200


def test_window_overflow_of_the_connection(server: Server, bystander: list[float]) -> None:
    """A connection window beyond 2^31-1 is FLOW_CONTROL_ERROR (RFC 9113 section 6.9.1)."""
    with server.h2() as wire:
        wire.send(window(0, LARGEST_WINDOW))
        assert last_goaway(wire) == FLOW_CONTROL_ERROR


def test_window_overflow_of_a_stream(server: Server) -> None:
    """A stream's window beyond 2^31-1 ends that stream alone."""
    with server.h2() as wire:
        stream, other = wire.open("/hold"), wire.open("/stream")
        wire.send(window(stream, LARGEST_WINDOW))
        assert wire.reply(stream).reset == FLOW_CONTROL_ERROR
        assert wire.reply(other).body == b"0;1;2;3;4;"
        assert wire.get().status == 200


def test_more_data_than_the_window_allows(server: Server, bystander: list[float]) -> None:
    """Who sends beyond its window is refused: what is not read is bounded by it."""
    with server.h2() as wire:
        stream = wire.open("/sleep?s=3", "POST", end=False)
        shove(wire, data(stream, bytes(16_384)).serialize(), 200)
        try:
            assert wire.reply(stream).reset == FLOW_CONTROL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == FLOW_CONTROL_ERROR


def test_more_streams_than_allowed(server: Server, bystander: list[float], tag: str) -> None:
    """The 101st stream at once is refused; the hundred before it are not (RFC 9113 section 5.1.2)."""
    with server.h2() as wire:
        heads = [wire.head(f"/gate?tag={tag}") for _ in range(101)]
        wire.send(*heads)
        assert wire.reply(heads[100].stream_id).reset in {REFUSED_STREAM, PROTOCOL_ERROR}
        with server.h1() as line:
            assert line.get(f"/open?tag={tag}").status == 200
        for head in heads[:100]:
            assert wire.reply(head.stream_id).body == b"gate"


def test_zero_window(server: Server, bystander: list[float], tag: str) -> None:
    """A client that lets nothing through holds a bounded piece of each response, and no more."""
    before = server.rss()
    with server.h2(stream_window=0) as wire:
        streams = [wire.open(f"/down?n=8388608&tag={tag}") for _ in range(100)]
        time.sleep(0.5)
        assert server.rss() - before < 32, "800 MiB were asked for, 64 KiB a stream may wait"
        wire.send(*[reset(stream) for stream in streams])
    eventually(lambda: server.stats(tag)["active"] == 0)


def test_client_that_never_reads(server: Server, bystander: list[float], tag: str) -> None:
    """A client with open windows whose socket takes nothing holds as little."""
    before = server.rss()
    with server.h2(receive_buffer=4_096) as wire:
        for _ in range(50):
            wire.open(f"/down?n=8388608&tag={tag}")
        time.sleep(0.5)
        assert server.rss() - before < 32
        wire.vanish()
    eventually(lambda: server.stats(tag)["active"] == 0)


@pytest.mark.parametrize(
    "frame",
    [PingFrame(0, b"01234567"), SettingsFrame(0, {3: 100})],
    ids=["PING", "SETTINGS"],
)
def test_flood_without_reading(server: Server, bystander: list[float], frame: PingFrame | SettingsFrame) -> None:
    """What must be answered, sent without end by a client that does not read the answers, fills no memory and ends in
    ENHANCE_YOUR_CALM."""
    before = server.rss()
    with server.h2(receive_buffer=4_096) as wire:
        wire.sock.settimeout(0.5)
        raw = frame.serialize() * 4_000
        started = time.monotonic()
        try:
            while time.monotonic() - started < 2:
                wire.sock.send(raw)
        except OSError:
            pass  # the server reads no more: that is the point
        assert server.rss() - before < 16
        wire.sock.settimeout(5)
        with suppress(Ended):
            wire.until(lambda: bool(wire.goaways))
        assert wire.goaways[-1][1] == ENHANCE_YOUR_CALM


def test_small_frames_are_not_large_in_memory(server: Server) -> None:
    """128 KiB that wait for their application in frames of two bytes are not fifty times as many in memory."""
    before = server.rss()
    with server.h2() as wire:
        streams = [wire.open("/sleep?s=3", "POST", end=False) for _ in range(2)]
        for stream in streams:
            wire.send_bytes(data(stream, b"xy").serialize() * 50_000)
        assert wire.get(timeout=20).status == 200
        assert server.rss() - before < 4


# Frames that are wrong.


@pytest.mark.parametrize(
    ("raw", "errors"),
    {
        "HEADERS on stream 0": (b"\0\0\1\1\5\0\0\0\0\x82", {PROTOCOL_ERROR}),
        "HEADERS on an even stream": (b"\0\0\1\1\5\0\0\0\2\x82", {PROTOCOL_ERROR}),
        "DATA on stream 0": (b"\0\0\1\0\0\0\0\0\0x", {PROTOCOL_ERROR}),
        "DATA on an idle stream": (b"\0\0\1\0\0\0\0\0\x63x", {PROTOCOL_ERROR}),
        "RST_STREAM on an idle stream": (b"\0\0\4\3\0\0\0\0\x63\0\0\0\1", {PROTOCOL_ERROR, None}),
        "WINDOW_UPDATE of nothing": (b"\0\0\4\x08\0\0\0\0\0\0\0\0\0", {PROTOCOL_ERROR}),
        "WINDOW_UPDATE of the wrong size": (b"\0\0\3\x08\0\0\0\0\0\0\0\1", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "PING of the wrong size": (b"\0\0\5\6\0\0\0\0\0abcde", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "SETTINGS of the wrong size": (b"\0\0\5\4\0\0\0\0\0abcde", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "SETTINGS with a window beyond 2^31-1": (b"\0\0\6\4\0\0\0\0\0\0\4\xff\xff\xff\xff", {FLOW_CONTROL_ERROR}),
        "SETTINGS with a frame size of 1": (b"\0\0\6\4\0\0\0\0\0\0\5\0\0\0\1", {PROTOCOL_ERROR}),
        "frame beyond 16 KiB": (b"\0\x50\0\0\0\0\0\0\1" + bytes(0x5000), {FRAME_SIZE_ERROR}),
        "PUSH_PROMISE": (b"\0\0\5\5\4\0\0\0\1\0\0\0\2\x82", {PROTOCOL_ERROR}),
        "CONTINUATION alone": (b"\0\0\1\x09\4\0\0\0\1\x82", {PROTOCOL_ERROR}),
        "padding longer than its frame": (b"\0\0\2\0\x08\0\0\0\1\xffx", {PROTOCOL_ERROR}),
        "HPACK index beyond the table": (b"\0\0\2\1\5\0\0\0\1\xff\x7f", {COMPRESSION_ERROR, PROTOCOL_ERROR}),
        "stream that depends on itself": (b"\0\0\5\2\0\0\0\0\1\0\0\0\1\0", {PROTOCOL_ERROR}),
    }.items(),
    ids=lambda value: None,
)
def test_wrong_frame(server: Server, raw: str, errors: tuple[bytes, set[int | None]]) -> None:
    """A frame that breaks RFC 9113 ends in the GOAWAY that names the error."""
    frame, allowed = errors
    with server.h2() as wire:
        wire.send_bytes(frame)
        if None in allowed:
            return
        assert last_goaway(wire) in allowed, raw


def test_no_preface(server: Server) -> None:
    """Who agrees on h2 and speaks HTTP/1.1 is let go."""
    from tests.faults._wire import _Line, connect

    with _Line(connect(server.port, server.context("h2"))) as line:
        line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with pytest.raises(Ended, match="close_notify"):
            while True:
                line.recv()


def test_unknown_frames_and_settings_are_ignored(server: Server) -> None:
    """Extensions that we do not know are no fault (RFC 9113 section 5.5)."""
    with server.h2() as wire:
        wire.send_bytes(b"\0\0\5\xfa\xff\0\0\0\0hello" + b"\0\0\5\xfa\xff\0\0\0\1hello")
        wire.send(SettingsFrame(0, {0xABCD: 1}))
        assert wire.get().status == 200


# Ends.


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
