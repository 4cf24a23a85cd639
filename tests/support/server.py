"""A real `handclasp-serve` in a process of its own, its log, its memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.issuer import client_context
from tests.support.wire import PATIENCE, Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
MIB = 2**20


class Server:
    """Serves `app` until `stop`; its log is a file, so that nobody has to read along."""

    def __init__(
        self,
        folder: Path,
        credential: Path,
        client: Path,
        app: str = "tests.faults._app:app",
        options: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.credential, self.client = credential, client
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "services",
                    app,
                    "--credential",
                    str(credential),
                    "--bind",
                    "localhost:0",
                    *options,
                ],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    @cached_property
    def port(self) -> int:
        """The port; who asks for it waits for the ready line."""
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        found = re.search(r"https://localhost:(\d+)", ready)
        assert found, f"no ready line but {ready!r}; the log: {self.log()}"
        return int(found[1])

    def context(self, *alpn: str) -> ssl.SSLContext:
        if alpn not in self._contexts:
            self._contexts[alpn] = client_context(self.client, trust=self.client / "ca.crt", alpn=alpn)
        return self._contexts[alpn]

    def h2(self, **options: int | dict[int, int]) -> Wire:
        return Wire(self.port, self.context("h2"), **options)

    def h1(self, **options: int) -> Line1:
        return Line1(self.port, self.context("http/1.1"), **options)

    def log(self, after: int = 0) -> str:
        """What the server has logged, from byte `after` on."""
        return self._log.read_bytes()[after:].decode()

    def log_end(self) -> int:
        return self._log.stat().st_size

    def logged(self, words: str, after: int = 0, times: int = 1, timeout: float = PATIENCE) -> list[str]:
        """Wait until `times` lines with these words were logged; return them."""
        found: list[str] = []

        def enough() -> bool:
            found[:] = [line for line in self.log(after).splitlines() if words in line]
            return len(found) >= times

        eventually(enough, timeout, lambda: f"{times} lines with {words!r}; the log:\n{self.log(after)}")
        return found

    def stats(self, tag: str = "") -> dict:
        with self.h1() as line:
            return json.loads(line.get(f"/stats?tag={tag}").body)

    def rss(self) -> float:
        """Resident memory in MiB."""
        return psutil.Process(self.process.pid).memory_info().rss / MIB

    def workers(self) -> set[int]:
        """The processes that serve under this one: spawned children that live, and no resource tracker."""
        found = set()
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it ended since it was listed, and may be a zombie by now
                if "spawn_main" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_code(self, timeout: float = PATIENCE) -> int:
        return self.process.wait(timeout)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def lives(pid: int) -> bool:
    """Whether this process runs: one that has ended, and that nobody has asked about, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(done: Callable[[], bool], timeout: float = PATIENCE, what: Callable[[], str] = lambda: "it") -> None:
    """Look again and again until it is so."""
    until = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < until, f"waited {timeout} s in vain for {what()}"
        time.sleep(0.02)
