"""`handclasp-pki rotate` runs over and over while a server is under load: no request fails, and new connections meet
the new certificate."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from tests.support.load import Tally, hammer
from tests.support.server import ROOT, Server

if TYPE_CHECKING:
    from pathlib import Path


def pki(state: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pki", "--state", str(state), *words], cwd=ROOT, check=True, capture_output=True
    )


def test_twenty_thousand_requests_while_the_server_credential_rotates(tmp_path: Path) -> None:
    """8 connections at a time, 10 streams each, 20,000 requests; each connection retires after 500."""
    state = tmp_path / "state"
    pki(state, "init")
    pki(state, "issue", "server", "localhost", "--dns", "localhost")
    pki(state, "issue", "client", "alice", "--email", "alice@example.com")
    (tmp_path / "log").mkdir()
    server = Server(
        tmp_path / "log", state / "credentials/localhost", state / "credentials/alice", options=["--no-access-log"]
    )
    stop, certificates = threading.Event(), set()

    def rotate() -> None:
        while not stop.is_set():
            pki(state, "rotate", "localhost")
            with server.h2() as wire:
                certificates.add(wire.sock.getpeercert(binary_form=True))
            stop.wait(0.5)

    thread = threading.Thread(target=rotate)
    thread.start()
    context, tally, total = server.context("h2"), Tally(), 0
    try:
        while total < 20_000 or (server.log().count("reloaded") < 2 and thread.is_alive()):
            share = 10_000 if total < 20_000 else 1_000
            asyncio.run(
                hammer(lambda: server.port, lambda: context, tally, total=share, connections=8, streams=10, share=500)
            )
            total += share
    finally:
        stop.set()
        thread.join()
        server.stop()
    assert tally.failed == []
    assert tally.answered == total
    assert len(certificates) >= 2, "connections that were opened meanwhile met the certificates of that moment"
    assert server.log().count("reloaded") >= 2
    assert "Traceback" not in server.log()
