"""On asyncio's own event loop, where uvloop is missing, clients that leave rudely leave as little trace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from wsproto.frame_protocol import Opcode

from tests.support.server import eventually
from tests.support.websocket import WebSocket, close_frame, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that finds no uvloop."""
    folder: Path = tmp_path_factory.mktemp("hidden")
    (folder / "uvloop.py").write_text('raise ImportError("hidden")\n')
    return start(PYTHONPATH=f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_clients_that_leave_in_the_middle(own: Server, tag: str) -> None:
    """While the server sends, while it waits, while it says goodbye: applications end, and nothing raises."""
    for _ in range(10):
        with WebSocket(own, "h1", "/ws-echo", more=(("sec-websocket-version", "12"),)) as refused:
            assert refused.answer().status == 400
        with WebSocket(own, "h1", f"/ws-echo?tag={tag}", first=frame(Opcode.TEXT, b"early")) as hasty:
            assert hasty.answer().status in {101, 400}
        with WebSocket(own, "h1", f"/ws-echo?tag={tag}").accepted() as closing:
            closing.send_bytes(close_frame(1000))
            closing.line.vanish()
        for path in (f"/endless?tag={tag}", f"/hold?tag={tag}", "/early"):
            with own.h1() as line:
                line.send_bytes(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf".encode())
                line.vanish()
            with own.h2() as wire:
                wire.open(path, "POST", end=False)
                wire.vanish()
    eventually(lambda: own.stats(tag)["active"] == 0)
    with own.h2() as wire:
        assert wire.get().status == 200
    assert "Traceback" not in own.log()
    assert "socket.send() raised" not in own.log()


def test_large_bodies(own: Server) -> None:
    """What uvloop carries, asyncio does as well."""
    with own.h1() as line, own.h2() as wire:
        assert len(line.get("/down?n=5000000").body) == 5_000_000
        assert len(wire.get("/down?n=5000000").body) == 5_000_000


def test_shutdown(own: Server) -> None:
    """A request in flight is answered, and the exit code is 0."""
    with own.h2() as wire:
        stream = wire.open("/sleep?s=0.3")
        assert wire.get().status == 200
        own.signal()
        assert wire.reply(stream).body == b"first-last"
        assert wire.ending() == "close_notify"
    assert own.exit_code() == 0
