"""`handclasp-pki revoke` ends the open connections of who is revoked within a second of its return."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.issuer import client_context
from tests.support.server import ROOT, Server
from tests.support.websocket import WebSocket
from tests.support.wire import Ended, Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MALLORIES = ("mallory-1", "mallory-2", "mallory-3")
"""A machine that has much else to do may be late once."""


def pki(state: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pki", "--state", str(state), *words], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )


class Caller:
    """A credential of the real authority, on the wire."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.port = folder, port

    def h2(self) -> Wire:
        return Wire(self.port, client_context(self._folder, trust=self._folder / "ca.crt"))

    def h1(self) -> Line1:
        return Line1(self.port, client_context(self._folder, trust=self._folder / "ca.crt", alpn=("http/1.1",)))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    pki(state, "init")
    pki(state, "issue", "server", "localhost", "--dns", "localhost")
    for name in (*MALLORIES, "bob"):
        pki(state, "issue", "client", name, "--email", f"{name}@example.com")
    return state


@pytest.fixture
def server(state: Path, tmp_path: Path) -> Iterator[Server]:
    credentials = state / "credentials"
    made = Server(tmp_path, credentials / "localhost", credentials / "bob")
    assert made.port
    yield made
    made.stop()


def test_every_kind_of_connection(state: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """HTTP/1.1, HTTP/2 and WebSockets on either; new ones meet the alert; somebody else sees no error."""
    bob = Caller(state / "credentials/bob", server.port)
    measured = []
    with bob.h1() as line, bob.h2() as wire:
        held = wire.open("/gate?tag=held")
        for name in MALLORIES:
            delays = revoke_and_measure(state, name, Caller(state / f"credentials/{name}", server.port))
            measured.append(max(delays.values()))
            with capsys.disabled():
                print("\nrevoked -> ended:", ", ".join(f"{what} {late * 1000:.0f} ms" for what, late in delays.items()))
            assert line.get().status == wire.get().status == 200
        assert line.get("/open?tag=held").status == 200
        assert wire.reply(held).status == 200
        assert not wire.goaways
    assert min(measured) < 1.0


def revoke_and_measure(state: Path, name: str, mallory: Caller) -> dict[str, float]:
    """Seconds from the command's return to the end of each connection."""
    with (
        mallory.h1() as h1,
        mallory.h2() as h2,
        WebSocket(mallory, "h1", "/ws-echo") as ws1,  # type: ignore[arg-type]
        WebSocket(mallory, "h2", "/ws-echo") as ws2,  # type: ignore[arg-type]
    ):
        assert h1.get().status == h2.get().status == 200
        for websocket in (ws1, ws2):
            websocket.accepted().send("hello")
            assert websocket.receive() == "hello"
        pki(state, "revoke", "--name", name, "--reason", "keyCompromise", "--yes")
        revoked, delays = time.monotonic(), {}
        h1.ending(5)
        delays["HTTP/1.1"] = time.monotonic() - revoked
        h2.ending(5)
        delays["HTTP/2"] = time.monotonic() - revoked
        for what, websocket in (("WebSocket", ws1), ("WebSocket over HTTP/2", ws2)):
            assert websocket.receive() == 1008
            delays[what] = time.monotonic() - revoked
    with pytest.raises(Ended, match=r"(?i)revoked"), mallory.h1() as refused:
        refused.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        refused.recv()
    return delays
