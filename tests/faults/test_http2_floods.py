"""A client that floods an HTTP/2 connection loses it, by ENHANCE_YOUR_CALM or the like; others feel nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame

from tests.support.server import eventually
from tests.support.wire import (
    ENHANCE_YOUR_CALM,
    HEADER_TABLE_SIZE,
    LARGEST_WINDOW,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Ended,
    data,
    reset,
    window,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.trust import Client


def test_rapid_reset(server: Server, mallory: Client, bystander: list[float], tag: str) -> None:
    """10,000 requests that are taken back at once end in GOAWAY ENHANCE_YOUR_CALM (CVE-2023-44487)."""
    with mallory.h2() as wire:
        for _ in range(100):
            frames = []
            for _ in range(100):
                head = wire.head(f"/hold?tag={tag}")
                frames += [head, reset(head.stream_id)]
            try:
                wire.send(*frames)
            except OSError:
                break
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
    assert server.stats(tag)["seen"] <= 1_200
    eventually(lambda: server.stats(tag)["active"] == 0)


def test_resets_that_the_server_is_made_to_send(server: Server, mallory: Client, bystander: list[float]) -> None:
    """Frames that make the server reset its own streams count as well: MadeYouReset (CVE-2025-8671)."""
    with mallory.h2() as wire:
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
        assert wire.goaway_error() == ENHANCE_YOUR_CALM


def test_data_on_requests_that_have_ended(server: Server, mallory: Client, bystander: list[float]) -> None:
    """The same by DATA behind END_STREAM."""
    with mallory.h2() as wire:
        for _ in range(100):
            frames = []
            for _ in range(50):
                head = wire.head("/hold")
                frames += [head, data(head.stream_id, b"x")]
            try:
                wire.send(*frames)
            except OSError:
                break
        assert wire.goaway_error() in {ENHANCE_YOUR_CALM, STREAM_CLOSED}


def test_who_comes_back_has_not_calmed_down(server: Server, mallory: Client, bystander: list[float]) -> None:
    """A flood that begins anew on the next connection ends at once; it is nobody else's, and comes to be forgotten."""

    def flood(requests: int) -> None:
        with mallory.h2() as wire:
            with suppress(OSError):
                for _ in range(requests // 100):
                    heads = [wire.head("/hold") for _ in range(100)]
                    wire.send(*(frame for head in heads for frame in (head, reset(head.stream_id))))
            assert wire.goaway_error() == ENHANCE_YOUR_CALM

    flood(5_000)
    flood(300)
    with mallory.h2() as wire:
        assert wire.get().status == 200, "who behaves is served"
    with server.h2() as wire:
        heads = [wire.head("/hold") for _ in range(90)]
        wire.send(*(frame for head in heads for frame in (head, reset(head.stream_id))))
        assert wire.get().status == 200


def test_who_hangs_up_in_time_is_remembered(mallory: Client) -> None:
    """A flood in parts, each short of the limit and on a connection of its own, is one flood."""

    def part() -> bool:
        with mallory.h2() as wire:
            heads = [wire.head("/hold") for _ in range(300)]
            with suppress(OSError):
                for some in (heads[:100], heads[100:200], heads[200:]):
                    wire.send(*(frame for head in some for frame in (head, reset(head.stream_id))))
            try:
                return wire.get().status == 200
            except (Ended, OSError):
                return False

    assert part()
    assert False in [part() for _ in range(5)]


def test_taken_back_before_it_began(server: Server, mallory: Client, tag: str) -> None:
    """A request and its reset in one packet start no application; the stream behind them is served."""
    with mallory.h2() as wire:
        heads = [wire.head(f"/hold?tag={tag}") for _ in range(20)]
        wire.send(*[frame for head in heads for frame in (head, reset(head.stream_id))])
        assert wire.get().status == 200
    assert server.stats(tag)["seen"] == 0


def test_a_few_resets_are_no_abuse(mallory: Client) -> None:
    """A client that takes back 200 of its requests goes on being served on the same connection."""
    with mallory.h2() as wire:
        for _ in range(10):
            frames = []
            for _ in range(20):
                head = wire.head("/hold")
                frames += [head, reset(head.stream_id)]
            wire.send(*frames)
            assert wire.get().status == 200
        assert not wire.goaways


def test_applications_at_work_are_bounded(server: Server, mallory: Client, bystander: list[float], tag: str) -> None:
    """Resets make room for new streams before the applications have ended; those at work stay bounded all the same."""
    with mallory.h2() as wire:
        for begun in (90, 180, 200):
            heads = [wire.head(f"/gate?tag={tag}") for _ in range(90)]
            wire.send(*heads)
            eventually(lambda begun=begun: server.stats(tag)["active"] == begun)
            wire.send(*[reset(head.stream_id) for head in heads])
        assert wire.get().reset == REFUSED_STREAM
        assert server.stats(tag)["active"] == server.stats(tag)["seen"] <= 200
        with server.h1() as line:
            assert line.get(f"/open?tag={tag}").status == 200
        assert wire.get().status == 200


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


def test_continuation_flood(server: Server, mallory: Client, bystander: list[float]) -> None:
    """A header block that never ends does (CVE-2024-27316)."""
    with mallory.h2() as wire:
        frame = HeadersFrame(1, wire.encoder.encode([(":method", "GET")]))
        wire.send(frame)
        wire.shove(ContinuationFrame(1, b"\x00\x01a\x01b" * 200).serialize(), 10_000)
        assert wire.goaway_error() == ENHANCE_YOUR_CALM


def test_empty_continuation_flood(server: Server, mallory: Client, bystander: list[float]) -> None:
    """Nor may CONTINUATION frames be without end because they hold nothing."""
    with mallory.h2() as wire:
        wire.send(HeadersFrame(1, wire.encoder.encode([(":method", "GET")])))
        wire.shove(ContinuationFrame(1, b"").serialize() * 100, 100)
        assert wire.goaway_error() == ENHANCE_YOUR_CALM


def test_header_bomb(server: Server, bystander: list[float]) -> None:
    """A kilobyte of references to one large field is not unpacked to megabytes."""
    before = server.rss()
    with server.h2() as wire:
        head = wire.head("/", more=[("x-bomb", "x" * 3_900)])
        head.data += bytes([0xBE]) * 12_000  # index 62: the field that was added last, 4 kB each time
        wire.send(head)
        assert wire.goaway_error() == ENHANCE_YOUR_CALM
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


def test_size_of_the_header_table_is_ours(server: Server) -> None:
    """A client that allows us a table of 1 GiB does not make each response search one."""
    with server.h2(settings={HEADER_TABLE_SIZE: 2**30}) as wire:
        for _ in range(10):
            streams = [wire.open("/distinct") for _ in range(50)]
            for stream in streams:
                assert wire.reply(stream).status == 200
        assert len(wire.decoder.header_table.dynamic_entries) < 200, "2,000 fields were worth an entry"


@pytest.mark.parametrize(
    "frame",
    [PingFrame(0, b"01234567"), SettingsFrame(0, {3: 100})],
    ids=["PING", "SETTINGS"],
)
def test_flood_without_reading(
    server: Server, mallory: Client, bystander: list[float], frame: PingFrame | SettingsFrame
) -> None:
    """What must be answered, sent without end by a client that does not read the answers, fills no memory and ends in
    ENHANCE_YOUR_CALM."""
    before = server.rss()
    with mallory.h2(receive_buffer=4_096) as wire:
        wire.sock.settimeout(0.5)
        raw = frame.serialize() * 4_000
        started = time.monotonic()
        try:
            while time.monotonic() - started < 1:
                wire.sock.send(raw)
        except OSError:
            pass  # the server reads no more: that is the point
        assert server.rss() - before < 16
        wire.sock.settimeout(30)
        with suppress(Ended):
            wire.until(lambda: bool(wire.goaways))
        assert wire.goaways[-1][1] == ENHANCE_YOUR_CALM


def test_a_ping_for_each_piece_is_no_abuse(server: Server) -> None:
    """gRPC clients measure the path with a PING for each DATA frame that comes: that is work in proportion."""
    with server.h2() as wire:
        stream = wire.open(f"/down?n={48 * 2**20}")
        ping, seen = PingFrame(0, b"bdp-ping"), 0
        while not wire.replies[stream].over:
            if isinstance(wire.frame(), DataFrame):
                wire.send(ping)
                seen += 1
        assert seen > 3_000
        assert wire.replies[stream].whole
        assert wire.get().status == 200
