"""The load's process, as the rounds see it: built, started, talked to, and its word taken."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.bench.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_GRACE = 45.0
"""Seconds that a load has beyond the time that it measures."""


class VoidError(Exception):
    """An answer was wrong or missing, or the load itself failed: the run says nothing."""


class NoLoadError(Exception):
    """The load cannot be built; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measured window of one run; load/outcome.go has the same. Times are in seconds."""

    done: int
    seconds: float
    load_cpu: float
    server_cpu: float
    p50: float
    p99: float
    longest: float
    failed: int
    reason: str
    tls: str

    @classmethod
    def parse(cls, text: str) -> Outcome:
        """Read the load's line. Raises ValueError or TypeError where it is something else."""
        return cls(**json.loads(text))

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.done / self.seconds

    @property
    def rate_of_cpu(self) -> float:
        """How many a second of the server's CPU time: other processes on the same core disturb it less."""
        return self.done / self.server_cpu if self.server_cpu else 0.0

    @property
    def load_share(self) -> float:
        """The part of its core that the load used. Near 1 the load was the limit, not the server."""
        return self.load_cpu / self.seconds

    @property
    def server_share(self) -> float:
        return self.server_cpu / self.seconds


def build(folder: Path) -> None:
    """Make the Go programs, the load and Go's own contestant.

    Raises:
        NoLoadError: there is no Go, or what it builds with is not whole.
    """
    go = shutil.which("go")
    if go is None:
        raise NoLoadError("the load is a program in Go, which is not installed: apt install golang")
    for name, source in (("load", "load"), ("gonet", "peers/gonet")):
        command = [go, "build", "-o", str(folder / name), "."]
        done = subprocess.run(command, cwd=ROOT / "tests/bench" / source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoLoadError(f"the load cannot be built: {done.stderr.strip()}")


class LoadProcess:
    """A context manager: the process does not outlive it. It inherits this process's core."""

    def __init__(self, program: Path, options: Mapping[str, Any]) -> None:
        words = [f"-{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [str(program), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        """Wait until the load is ready. Raises VoidError where it does not become so."""
        try:
            self._expect("ready")
        except VoidError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()

    def step(self, word: str, seconds: float = 0.0) -> None:
        """Have the load go one step on. Raises VoidError where it does not then say `word`."""
        self._go_on()
        self._expect(word, seconds)

    def begin(self) -> None:
        """Have the load begin a window that nobody waits for."""
        self._go_on()

    def measure(self, seconds: float = 0.0) -> Outcome:
        """Have the load go on to what it finds, within about `seconds`. Raises VoidError where an answer failed."""
        self._go_on()
        return self._judge(self._line(seconds + _GRACE))

    def _go_on(self) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            try:
                stdin.write("\n")
                stdin.flush()
            except BrokenPipeError:
                raise VoidError("the load has ended") from None

    def _expect(self, word: str, seconds: float = 0.0) -> None:
        line = self._line(seconds + _GRACE)
        if line != word:
            self._judge(line)
            raise VoidError(f"the load says {line[:80]!r}")

    def _judge(self, line: str) -> Outcome:
        try:
            outcome = Outcome.parse(line)
        except (ValueError, TypeError):
            raise VoidError("the load ended without a word") from None
        if outcome.failed:
            raise VoidError(outcome.reason)
        if not outcome.done:
            raise VoidError("nothing was answered")
        return outcome

    def _line(self, seconds: float) -> str:
        out = self._process.stdout
        if out is None or not select.select([out], [], [], seconds)[0]:
            raise VoidError(f"the load says nothing for {seconds:g} s")
        return out.readline().strip()
