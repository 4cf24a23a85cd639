"""Trust that changes under load: who may ask is answered, who is revoked is cut, and nothing grows.

  python -m tests.soak                            three minutes, 64 connections
  python -m tests.soak --seconds 20 --connections 16

Connections of HTTP/1.1, HTTP/2 and WebSocket ask without a pause, each for a few hundred requests, and then again with
the credential that is there by then. Meanwhile every credential is rotated every two seconds, the revocation list is
published every second, and one more client is revoked and replaced, over and over. Loopback only. The exit code is 1
where a request of anybody but the revoked has failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import ssl
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import websockets
from rich.console import Console
from rich.progress import Progress, TextColumn

from clients.errors import ClientError
from clients.http1 import AsyncClient as HTTP1Client
from clients.http2 import AsyncClient as HTTP2Client
from pki.crl_signing import Reason
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile, ServerProfile
from pki.state import State
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_NAMES = 8
_ROTATED_EVERY, _PUBLISHED_EVERY = 2.0, 1.0
_PATIENCE = 60.0
"""Seconds: all clients are in one process, which may be the one that keeps them waiting."""
_REVOKED = 15.0
_numbers = itertools.count(1)


@dataclass
class Tally:
    """What has happened."""

    sent: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    rotations: int = 0
    lists: int = 0
    delays: list[float] = field(default_factory=list)


@dataclass
class Soak:
    """One run: an authority, a server, and those who ask."""

    lifecycle: Lifecycle
    server: Server
    until: float
    tally: Tally = field(default_factory=Tally)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def folder(self, name: str) -> Path:
        return self.lifecycle.state.folder / "credentials" / name

    async def run(self, connections: int) -> None:
        kinds: list[Callable[[str], Awaitable[None]]] = [self.http2, self.http1, self.http2, self.websocket]
        asking = [self.ask(kinds[number % len(kinds)], f"client-{number % _NAMES}") for number in range(connections)]
        await asyncio.gather(*asking, self.rotate(), self.publish(), self.revoke(), self.show())

    async def show(self) -> None:
        """A bar on a terminal's stderr."""
        bar = Progress(*Progress.get_default_columns(), TextColumn("{task.fields[said]}"), console=Console(stderr=True))
        bar.disable = not sys.stderr.isatty()
        left = self.until - time.monotonic()
        with bar:
            task = bar.add_task("soak", total=left, said="")
            while not self.over:
                tally = self.tally
                said = f"{tally.sent.total():,} requests, {len(tally.failed)} failed, {len(tally.delays)} revocations"
                bar.update(task, completed=left - (self.until - time.monotonic()), said=said)
                await asyncio.sleep(0.5)

    # Those who may ask.

    async def ask(self, kind: Callable[[str], Awaitable[None]], name: str) -> None:
        while not self.over:
            try:
                await kind(name)
            except Exception as error:
                self.tally.failed.append(f"{kind.__name__}: {type(error).__name__}: {error}")
                await asyncio.sleep(0.1)

    async def http1(self, name: str) -> None:
        await self._requests(HTTP1Client, "HTTP/1.1", name)

    async def http2(self, name: str) -> None:
        await self._requests(HTTP2Client, "HTTP/2", name)

    async def _requests(self, client: type[HTTP1Client | HTTP2Client], label: str, name: str) -> None:
        url = f"https://localhost:{self.server.port}"
        async with client(url=url, credential=self.folder(name), timeout=_PATIENCE) as session:
            for _ in range(random.randint(50, 300)):
                if self.over:
                    return
                await session.get("/")
                self.tally.sent[label] += 1

    async def websocket(self, name: str) -> None:
        context = self._context(name)
        url = f"wss://localhost:{self.server.port}/ws-echo"
        async with websockets.connect(url, ssl=context, compression=None) as socket:
            for number in range(random.randint(50, 300)):
                if self.over:
                    return
                await socket.send(f"{number}")
                if await socket.recv() != f"{number}":
                    raise AssertionError("another echo")
                self.tally.sent["WebSocket"] += 1

    def _context(self, name: str) -> ssl.SSLContext:
        for _ in range(5):  # a pair that is replaced between the two files
            with contextlib.suppress(ssl.SSLError):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(self.folder(name) / "ca.crt")
                version = self.folder(name) / (self.folder(name) / "..data").readlink()
                context.load_cert_chain(version / "tls.crt", version / "tls.key")
                return context
        raise AssertionError("no pair to load")

    # What changes.

    async def rotate(self) -> None:
        names = ["localhost", *(f"client-{number}" for number in range(_NAMES))]
        while not self.over:
            await self._changed(lambda: self.lifecycle.rotate(names, now=datetime.now(UTC)))
            self.tally.rotations += 1
            await asyncio.sleep(_ROTATED_EVERY)

    async def publish(self) -> None:
        while not self.over:
            await self._changed(lambda: self.lifecycle.publish_lists(now=datetime.now(UTC)))
            self.tally.lists += 1
            await asyncio.sleep(_PUBLISHED_EVERY)

    async def revoke(self) -> None:
        """One client after another: let in, answered, revoked, and from then on neither answered nor let in."""
        while not self.over:
            number = next(_numbers)
            name = f"mallory-{number}"
            await self._changed(lambda name=name: issue(self.lifecycle, name))
            client = (HTTP1Client, HTTP2Client)[number % 2]
            url = f"https://localhost:{self.server.port}"
            async with client(url=url, credential=self.folder(name), timeout=_PATIENCE) as session:
                await session.get("/")
                rows = self.lifecycle.revocable(now=datetime.now(UTC), name=name)
                revoking = asyncio.create_task(
                    self._changed(
                        lambda rows=rows: self.lifecycle.revoke(rows, Reason.KEY_COMPROMISE, now=datetime.now(UTC))
                    )
                )
                revoked_at = None
                try:
                    while revoked_at is None or time.monotonic() - revoked_at < _REVOKED:
                        await session.get("/")
                        if revoked_at is None and revoking.done():
                            revoked_at = time.monotonic()
                    self.tally.failed.append(f"{name} is answered {_REVOKED:g} seconds after it was revoked")
                except ClientError:
                    cut_at = time.monotonic()
                await revoking
                self.tally.delays.append(max(0.0, cut_at - (revoked_at or cut_at)))
            try:
                async with client(url=url, credential=self.folder(name), timeout=_PATIENCE) as session:
                    await session.get("/")
                self.tally.failed.append(f"{name} is let in again")
            except ClientError:
                pass
            # Or the lists would go to more folders with each. Not while they are written.
            await self._changed(partial(shutil.rmtree, self.folder(name)))

    async def _changed(self, change: Callable[[], object]) -> None:
        async with self.lock:
            await asyncio.to_thread(change)


def issue(lifecycle: Lifecycle, name: str) -> None:
    names = Names.parse(name, emails=[f"{name}@example.com"])
    lifecycle.issue(Request(ClientProfile(), names), now=datetime.now(UTC))


def set_up(folder: Path) -> Lifecycle:
    lifecycle = Lifecycle(State(folder / "state", patience=30))
    now = datetime.now(UTC)
    lifecycle.init("Soak CA", key=KeyType.P256, now=now)
    lifecycle.issue(Request(ServerProfile(), Names.parse("localhost", dns_names=["localhost"])), now=now)
    for number in range(_NAMES):
        issue(lifecycle, f"client-{number}")
    lifecycle.publish_lists(now=now)
    return lifecycle


def main() -> int:
    """Run it, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lifecycle = set_up(folder)
        server = Server(
            folder, lifecycle.state.folder / "credentials/localhost", lifecycle.state.folder / "credentials/client-0"
        )
        try:
            return report(server, *_soak(server, lifecycle, given.seconds, given.connections))
        finally:
            server.stop()


def _soak(server: Server, lifecycle: Lifecycle, seconds: float, connections: int) -> tuple[Tally, list[str]]:
    process = psutil.Process(server.process.pid)
    assert server.port
    # Behind a warm-up: what is imported and cached once is no leak.
    asyncio.run(Soak(lifecycle, server, time.monotonic() + min(10.0, seconds / 4)).run(connections))
    before = server.rss(), process.num_fds()
    soak = Soak(lifecycle, server, time.monotonic() + seconds)
    print(f"{connections} connections for {seconds:g} s", flush=True)
    asyncio.run(soak.run(connections))
    time.sleep(3)
    after = server.rss(), process.num_fds()
    return soak.tally, [
        f"memory       {before[0]:.1f} MiB at the start, {after[0]:.1f} at the end",
        f"descriptors  {before[1]} at the start, {after[1]} at the end",
    ]


def report(server: Server, tally: Tally, lines: list[str]) -> int:
    """Print the run; return the exit code."""
    sent = ", ".join(f"{count:,} {label}" for label, count in sorted(tally.sent.items()))
    reloads = server.log().count(" reloaded")
    print(f"requests     {tally.sent.total():,} ({sent}), {len(tally.failed)} failed")
    print(f"trust        {tally.rotations} rotations, {tally.lists} lists published, {reloads} reloads in all")
    delays = sorted(tally.delays)
    if delays:
        print(
            f"revocations  {len(delays)}: cut {delays[len(delays) // 2] * 1000:.0f} ms (median), "
            f"{delays[-1] * 1000:.0f} ms (longest) behind the command"
        )
    print("\n".join(lines))
    for failure in tally.failed[:10]:
        print(f"failed: {failure}", file=sys.stderr)
    unsound = [line for line in server.log().splitlines() if "Traceback" in line or "Fatal error" in line]
    for line in unsound[:10]:
        print(f"in the log: {line}", file=sys.stderr)
    return 1 if tally.failed or unsound or not delays else 0


if __name__ == "__main__":
    sys.exit(main())
