"""`rotate-ca`, all its steps, while clients ask: no request fails, and nobody trusts the former authority then."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.load import Tally, hammer
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def pki(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pki", "--state", str(state), *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def fresh(folder: Path) -> ssl.SSLContext:
    """A context of the credential that is in the folder now."""
    while True:
        version = folder / (folder / "..data").readlink()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        try:
            context.load_verify_locations(version / "ca.crt")
            context.load_cert_chain(version / "tls.crt", version / "tls.key")
        except FileNotFoundError:
            continue
        return context


@pytest.mark.parametrize("lists", [False, True], ids=["without lists", "with lists"])
def test_all_steps_under_load(tmp_path: Path, lists: bool) -> None:
    """Connections of a few hundred requests each, every one with the credential of its moment."""
    state = tmp_path / "state"
    pki(state, "init")
    pki(state, "issue", "server", "localhost")
    pki(state, "issue", "client", "alice", "--email", "alice@example.com")
    if lists:
        pki(state, "crl")
    alice = state / "credentials/alice"
    server = Server(tmp_path, state / "credentials/localhost", alice)
    try:
        port, tally, former = server.port, Tally(), fresh(alice)
        done = threading.Event()

        def replace() -> None:
            try:
                pki(state, "rotate-ca", "--now", "--settle", "2s")
            finally:
                done.set()

        thread = threading.Thread(target=replace)
        thread.start()

        async def ask() -> None:
            while not done.is_set():
                await hammer(lambda: port, lambda: fresh(alice), tally, total=800, connections=4, streams=5, share=100)

        asyncio.run(ask())
        thread.join()
        asyncio.run(hammer(lambda: port, lambda: fresh(alice), tally, total=200, connections=2))
        assert not tally.failed, tally.failed[:3]
        assert tally.connections > 10
        with pytest.raises(ssl.SSLError):
            asyncio.run(_connect(port, former))
    finally:
        server.stop()
    assert "Traceback" not in server.log()


async def _connect(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    await reader.read(1)
    writer.close()
