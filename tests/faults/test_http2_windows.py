"""Flow control: windows are kept, given back and bounded, and so is the memory behind them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.server import eventually
from tests.support.wire import FLOW_CONTROL_ERROR, LARGEST_WINDOW, Ended, data, reset, window

if TYPE_CHECKING:
    from tests.support.server import Server


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
        assert wire.goaway_error() == FLOW_CONTROL_ERROR


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
        wire.shove(data(stream, bytes(16_384)).serialize(), 200)
        try:
            assert wire.reply(stream).reset == FLOW_CONTROL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == FLOW_CONTROL_ERROR


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


@pytest.mark.slow
def test_small_frames_are_not_large_in_memory(server: Server) -> None:
    """128 KiB that wait for their application in frames of two bytes are not fifty times as many in memory."""
    before = server.rss()
    with server.h2() as wire:
        streams = [wire.open("/sleep?s=3", "POST", end=False) for _ in range(2)]
        for stream in streams:
            wire.send_bytes(data(stream, b"xy").serialize() * 50_000)
        assert wire.get(timeout=20).status == 200
        assert server.rss() - before < 4
