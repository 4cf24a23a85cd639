"""A server that runs: started on its cores, asked until it answers, weighed, ended."""

from __future__ import annotations

import os
import random
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.bench import machine
from tests.bench.contestants import CONNECTIONS, IDLE, POLICY, Contestant, Start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.credentials import Credentials

ROOT = Path(__file__).resolve().parents[2]

_START = 30.0
_STOP = 5.0
_PAUSE = 0.002
_PORTS = 10_000, 30_000

# One caller holds ten thousand connections here, and some of them for long: others have no such limits.
_OURS = {
    "HANDCLASP_KEEP_ALIVE_TIMEOUT": str(IDLE),
    "HANDCLASP_MAX_CONNECTIONS": str(CONNECTIONS),
    "HANDCLASP_MAX_CONNECTIONS_PER_IDENTITY": str(CONNECTIONS),
}


class ServerFailedError(Exception):
    """A server did not start; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has answered once."""

    contestant: Contestant
    port: int
    started: float
    """Seconds from the start of the process to the first answer."""
    pids: tuple[int, ...]

    def resident(self) -> int:
        """Bytes of memory that its processes hold. Raises ServerFailedError where one has ended."""
        try:
            return sum(int(psutil.Process(pid).memory_info().rss) for pid in self.pids)
        except psutil.NoSuchProcess:
            raise ServerFailedError("it has ended") from None


class Stage:
    """Where servers are started: with these credentials, and files of theirs in this folder."""

    def __init__(self, credentials: Credentials, folder: Path, programs: Path) -> None:
        """`programs` is where those in Go were built."""
        self.credentials = credentials
        self._folder = folder
        self._programs = programs
        self._probes = {name: _probe_context(credentials.client, name) for name in ("http/1.1", "h2")}
        self._count = 0

    @contextmanager
    def running(self, contestant: Contestant, application: str, cores: machine.Cores) -> Iterator[Server]:
        """Start a server on its cores, wait until it answers, end it afterwards.

        Raises:
            ServerFailedError: it ended, or was not ready within 30 seconds.
        """
        self._count += 1
        folder = self._folder / f"server-{self._count}"
        folder.mkdir()
        (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
        port = _free_port()
        command = contestant.command(Start(application, port, self.credentials.server, folder, self._programs))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
        environment |= _OURS
        log = folder / "log"
        begun = time.perf_counter()
        with log.open("wb") as words, machine.pinned(cores.server):  # the child inherits it from its first instruction
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
            )
        try:
            self._wait(process, contestant, port, log)
            started = time.perf_counter() - begun
            yield Server(contestant, port, started, (process.pid, *(child.pid for child in _children(process))))
        finally:
            _end(process)

    def _wait(self, process: subprocess.Popen[bytes], contestant: Contestant, port: int, log: Path) -> None:
        end = time.perf_counter() + _START
        while time.perf_counter() < end and process.poll() is None:
            try:
                self._ask(contestant, port)
            except OSError:  # not yet
                time.sleep(_PAUSE)
                continue
            # The first worker answers before the others are there.
            if contestant.workers == 1 or b"https://" in log.read_bytes():
                return
            time.sleep(_PAUSE)
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ServerFailedError(f"{contestant.name} did not start: {said[-1] if said else 'it says nothing'}")

    def _ask(self, contestant: Contestant, port: int) -> None:
        """Raise OSError where it does not answer."""
        probe = self._probes["http/1.1" if contestant.speaks_http1 else "h2"]
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
            probe.wrap_socket(raw, server_hostname="localhost") as wire,
        ):
            if contestant.speaks_http1:
                wire.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                if not wire.recv(100).startswith(b"HTTP/1.1 200"):
                    raise ConnectionError("no answer")


def _probe_context(credential: Path, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(credential / "ca.crt"))
    context.load_cert_chain(credential / "tls.crt", credential / "tls.key")
    context.set_alpn_protocols([protocol])
    return context


def _free_port() -> int:
    """Below those that the kernel gives to outgoing connections: nobody else takes it meanwhile by chance."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started."""
    family = _children(process)
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
