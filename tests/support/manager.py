"""What systemd does for a service, and nothing of it pretended: a NOTIFY_SOCKET that listens, sockets passed by fork
and exec with LISTEN_FDS and LISTEN_PID, a watchdog that is waited for.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_FIRST = 3


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.heard: list[dict[str, str]] = []

    def next(self, timeout: float = 10.0) -> dict[str, str] | None:
        """What is said next; None where nothing is."""
        self._sock.settimeout(timeout)
        try:
            text = self._sock.recv(4096).decode()
        except TimeoutError:
            return None
        said = dict(line.split("=", 1) for line in text.splitlines())
        self.heard.append(said)
        return said

    def wait_for(self, name: str, timeout: float = 20.0) -> dict[str, str]:
        """The next message that has this, whatever comes before it."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            said = self.next(left)
            if said is not None and name in said:
                return said
        raise AssertionError(f"no {name} within {timeout} s, but {self.heard}")

    def count(self, name: str, seconds: float) -> int:
        """How often this is said in so many seconds."""
        until, found = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            said = self.next(left)
            found += said is not None and name in said
        return found

    def close(self) -> None:
        self._sock.close()


class Service:
    """`handclasp-serve`, started as systemd starts it: fork, descriptors from 3 on, environment, exec."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], sockets: Sequence[socket.socket], environment: Mapping[str, str]
    ) -> None:
        self._out, self._err = folder / "service.out", folder / "service.err"
        command = [sys.executable, "-m", "services", *arguments]
        self.pid = os.fork()
        if not self.pid:
            try:
                self._become(command, sockets, dict(environment))
            finally:
                os._exit(127)
        self._code: int | None = None

    def _become(self, command: list[str], sockets: Sequence[socket.socket], environment: dict[str, str]) -> None:
        os.chdir(ROOT)
        for path, number in ((self._out, 1), (self._err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        high = [os.dup2(sock.fileno(), 200 + index) for index, sock in enumerate(sockets)]
        for index, number in enumerate(high):
            os.dup2(number, _FIRST + index, inheritable=True)
        os.closerange(_FIRST + len(sockets), 300)
        if sockets:
            environment = {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid())} | environment
        if "WATCHDOG_USEC" in environment:
            environment = {"WATCHDOG_PID": str(os.getpid())} | environment
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
        os.execve(command[0], command, inherited | environment)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def port(self, timeout: float = 20.0) -> int:
        """The port of the ready line."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self._out.exists() and (found := re.search(r"https://\S+:(\d+)", self.out)):
                return int(found[1])
            assert not self.ended(), self.err
            time.sleep(0.02)
        raise AssertionError(f"no ready line; the log:\n{self.err}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> bool:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None

    def exit_code(self, timeout: float = 20.0) -> int:
        until = time.monotonic() + timeout
        while not self.ended():
            assert time.monotonic() < until, f"still running after {timeout} s:\n{self.err}"
            time.sleep(0.02)
        assert self._code is not None
        return self._code

    def stop(self) -> None:
        """End it, and what it has started."""
        if not self.ended():
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.exit_code()


@contextmanager
def started(
    folder: Path, *arguments: str, sockets: Sequence[socket.socket] = (), **environment: str
) -> Iterator[Service]:
    """A service that ends with the block."""
    service = Service(folder, arguments, sockets, environment)
    try:
        yield service
    finally:
        service.stop()
