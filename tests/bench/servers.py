"""The servers that are compared: how each is started, where it listens, what it weighs."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.bench import app, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]

_START = 30.0
_STOP = 5.0
_PORT = re.compile(r"https://[^ ]*:(\d+)")


class ServerFailedError(Exception):
    """A server did not start; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server by name, before it is started."""

    name: str
    command: Callable[[str, Path], list[str]]
    """Application and credential folder -> arguments of a Python interpreter."""
    body: bytes
    """What it answers: only a server that knows the peer greets it by name."""


def _ours(application: str, credential: Path) -> list[str]:
    listener = ["--credential", str(credential), "--bind", "127.0.0.1:0", "--no-access-log"]
    return ["-m", "services", application, *listener]


def _stock(worker: str) -> Callable[[str, Path], list[str]]:
    def command(application: str, credential: Path) -> list[str]:
        return ["-m", "tests.bench.stock", application, "--worker", worker, "--credential", str(credential)]

    return command


OURS = Contestant("handclasp", _ours, app.BY_PEER)
STOCK = Contestant("stock hypercorn", _stock("asyncio"), app.BY_CONSTANT)
"""As it comes: its default worker. The targets speak of it."""
STOCK_UVLOOP = Contestant("stock hypercorn, uvloop worker", _stock("uvloop"), app.BY_CONSTANT)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    contestant: Contestant
    pid: int
    port: int

    def resident(self) -> int:
        """Bytes of memory that the process holds."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def running(
    contestant: Contestant, application: str, credential: Path, cores: machine.Cores, log: Path
) -> Iterator[Server]:
    """Start a server on its core, wait until it listens, end it afterwards.

    Raises:
        ServerFailedError: it ended, or was not ready within 30 seconds.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
    command = [sys.executable, *contestant.command(application, credential)]
    with log.open("w", encoding="utf-8") as errors:
        machine.pin(cores.server)  # the child inherits it from its first instruction on
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=ROOT
            )
        finally:
            machine.pin(cores.load)
        try:
            yield Server(contestant, process.pid, _port(process, contestant.name, log))
        finally:
            _end(process)


def _port(process: subprocess.Popen[bytes], name: str, log: Path) -> int:
    out = process.stdout
    line = out.readline().decode() if out and select.select([out], [], [], _START)[0] else ""
    found = _PORT.search(line)
    if found is None:
        words = log.read_text(encoding="utf-8").strip().splitlines()
        raise ServerFailedError(f"{name} did not start: {words[-1] if words else 'it says nothing'}")
    return int(found[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
