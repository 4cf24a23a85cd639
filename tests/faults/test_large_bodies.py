"""Bodies of 8 and 64 MiB arrive whole, up and down, over both protocols, whoever is slow; and memory stays bounded.

The bounds are on the server's resident memory, measured every 10 ms while the bodies are under way:

- a download that the application makes in pieces of 64 KiB: 128 KiB on its stream, and 64 KiB and a piece on its
  connection. 20 slow downloads of 8 MiB on one connection stay within 12 MiB.
- an upload that the application reads slowly: 128 KiB a stream over HTTP/2; about 3 MiB a connection over HTTP/1.1 (ten
  events of up to 256 KiB, and the parser's buffer). 20 slow uploads stay within 16 MiB over HTTP/2.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults._app import PIECE, digest, pieces
from tests.support.server import MIB
from tests.support.wire import window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server
    from tests.support.wire import Reply


@pytest.fixture(scope="module")
def own(start: Callable[..., Server]) -> Iterator[Server]:
    """A server whose memory nobody else uses. One large exchange has been through it: what Python keeps, it keeps.

    Nothing of what is asked of it leaves a trace in its log.
    """
    server = start("--no-access-log")
    with server.h1() as line:
        assert line.get(f"/down?n={8 * MIB}").whole
    with server.h2() as wire:
        assert wire.get(f"/down?n={8 * MIB}").whole
    yield server
    assert server.log() == ""


@contextmanager
def memory_within(server: Server, mib: float) -> Iterator[None]:
    """The server's memory grows by less than `mib` MiB at any time meanwhile."""
    before, peak, stop = server.rss(), [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], server.rss())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    print(f"grown by {peak[0] - before:.1f} MiB of {mib}")
    assert peak[0] - before < mib


def whole(reply: Reply, size: int) -> None:
    assert reply.status == 200
    assert reply.whole
    assert len(reply.body) == size
    assert hashlib.sha256(reply.body).hexdigest() == digest(size)


@pytest.mark.parametrize("size", [8 * MIB, 64 * MIB, 8 * MIB + 1], ids=["8 MiB", "64 MiB", "8 MiB and a byte"])
def test_http2_download(own: Server, size: int) -> None:
    """As fast as it goes."""
    with own.h2() as wire, memory_within(own, 4):
        whole(wire.get(f"/down?n={size}", timeout=60), size)


@pytest.mark.parametrize("size", [8 * MIB, 64 * MIB, 8 * MIB + 1], ids=["8 MiB", "64 MiB", "8 MiB and a byte"])
def test_http1_download(own: Server, size: int) -> None:
    """As fast as it goes."""
    with own.h1() as line, memory_within(own, 4):
        whole(line.get(f"/down?n={size}", timeout=60), size)


@pytest.mark.parametrize("size", [8 * MIB, 64 * MIB], ids=["8 MiB", "64 MiB"])
def test_http2_upload(own: Server, size: int) -> None:
    """Piece by piece as the windows allow it."""
    with own.h2() as wire, memory_within(own, 6):
        stream = wire.open("/echo", "POST", end=False)
        for piece in pieces(size):
            wire.say(stream, piece)
        wire.say(stream, end=True)
        assert wire.reply(stream, timeout=60).body == f"{digest(size)} {size}".encode()


@pytest.mark.parametrize("size", [8 * MIB, 64 * MIB], ids=["8 MiB", "64 MiB"])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_http1_upload(own: Server, size: int, chunked: bool) -> None:
    """As fast as the socket takes it."""
    with own.h1() as line, memory_within(own, 6):
        field = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        line.send_bytes(f"POST /echo HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n".encode())
        for piece in pieces(size):
            line.send_bytes(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            line.send_bytes(b"0\r\n\r\n")
        assert line.reply(timeout=60).body == f"{digest(size)} {size}".encode()


def test_http1_slow_reader(own: Server) -> None:
    """Nothing for a second, then sips of 64 KiB with pauses: the server keeps a piece or two, not 64 MiB."""
    size = 64 * MIB
    with own.h1(receive_buffer=65_536) as line, memory_within(own, 4):
        line.send_bytes(f"GET /down?n={size} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        time.sleep(1)
        for _ in range(100):
            line.left += line.recv(size=PIECE)
            time.sleep(0.002)
        whole(line.reply(timeout=60), size)


def test_http2_slow_reader(own: Server) -> None:
    """The same where the socket is what is slow, with all windows open."""
    size = 64 * MIB
    with own.h2(receive_buffer=65_536) as wire, memory_within(own, 4):
        stream = wire.open(f"/down?n={size}")
        time.sleep(1)
        for _ in range(100):
            wire.frame()
            time.sleep(0.002)
        whole(wire.reply(stream, timeout=60), size)


def test_twenty_slow_downloads_at_once(own: Server) -> None:
    """20 streams of 8 MiB, whose client opens their windows in sips; one that is fast passes them by."""
    size, sip = 8 * MIB, 8 * PIECE
    with own.h2(stream_window=PIECE) as wire, memory_within(own, 12):
        streams = [wire.open(f"/down?n={size}") for _ in range(20)]
        time.sleep(0.2)
        fast = wire.open("/stream")
        assert wire.reply(fast).body == b"0;1;2;3;4;"
        allowed = PIECE
        while allowed < size:
            wire.until(lambda: all(len(wire.replies[stream].body) == allowed for stream in streams))  # noqa: B023
            wire.send(*[window(stream, sip) for stream in streams])
            allowed = min(allowed + sip, size)
        for stream in streams:
            whole(wire.reply(stream), size)


def test_twenty_slow_http1_downloads_at_once(own: Server) -> None:
    """The same over twenty HTTP/1.1 connections."""
    size = 4 * MIB
    with memory_within(own, 16):
        lines = [own.h1(receive_buffer=65_536) for _ in range(20)]
        for line in lines:
            line.send_bytes(f"GET /down?n={size} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        time.sleep(0.5)
        for line in lines:
            whole(line.reply(timeout=30), size)
            line.close()


def test_twenty_slow_uploads_at_once(own: Server) -> None:
    """20 streams of 4 MiB to an application that takes its time over each piece."""
    size = 4 * MIB
    with own.h2() as wire, memory_within(own, 16):
        streams = [wire.open("/echo?pause=0.001", "POST", end=False) for _ in range(20)]
        for piece in pieces(size):
            for stream in streams:
                wire.say(stream, piece)
        for stream in streams:
            wire.say(stream, end=True)
        for stream in streams:
            assert wire.reply(stream, timeout=30).body == f"{digest(size)} {size}".encode()


@pytest.mark.slow
def test_slow_http1_upload(own: Server) -> None:
    """A client that is faster than the application is held back by its socket."""
    size = 32 * MIB
    with own.h1() as line, memory_within(own, 6):
        line.send_bytes(
            f"POST /echo?pause=0.005 HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n".encode()
        )
        for piece in pieces(size):
            line.send_bytes(piece)
        assert line.reply(timeout=60).body == f"{digest(size)} {size}".encode()


def test_twenty_uploads_and_downloads_at_once(own: Server) -> None:
    """Ten of each on one connection, interleaved frame by frame."""
    size = 4 * MIB
    with own.h2() as wire, memory_within(own, 12):
        down = [wire.open(f"/down?n={size}") for _ in range(10)]
        up = [wire.open("/echo", "POST", end=False) for _ in range(10)]
        for piece in pieces(size):
            for stream in up:
                wire.say(stream, piece)
        for stream in up:
            wire.say(stream, end=True)
        for stream in down:
            whole(wire.reply(stream, timeout=30), size)
        for stream in up:
            assert wire.reply(stream, timeout=30).body == f"{digest(size)} {size}".encode()
