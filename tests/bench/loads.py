"""The load's process, as the rounds see it: started, talked to, and its word taken."""

from __future__ import annotations

import select
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.bench.load.outcome import Outcome
from tests.bench.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_GRACE = 45.0
"""Seconds that a load has beyond the time that it measures."""


class VoidError(Exception):
    """An answer was wrong or missing, or the load itself failed: the run says nothing."""


class LoadProcess:
    """A context manager: the process does not outlive it. It inherits this process's core."""

    def __init__(self, title: str, kind: str, options: Mapping[str, object]) -> None:
        """`title` says in an error which load it was."""
        self._title = title
        words = [str(word) for pair in options.items() for word in pair]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", kind, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
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

    def step(self, word: str) -> None:
        """Have the load go one step on. Raises VoidError where it does not then say `word`."""
        self._go_on()
        self._expect(word)

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
                raise VoidError(f"{self._title}: the load has ended") from None

    def _expect(self, word: str) -> None:
        line = self._line(_GRACE)
        if line != word:
            self._judge(line)
            raise VoidError(f"{self._title}: the load says {line[:80]!r}")

    def _judge(self, line: str) -> Outcome:
        try:
            outcome = Outcome.parse(line)
        except (ValueError, TypeError):
            raise VoidError(f"{self._title}: the load ended without a word") from None
        if outcome.failed:
            raise VoidError(f"{self._title}: {outcome.reason}")
        if not outcome.done:
            raise VoidError(f"{self._title}: nothing was answered")
        return outcome

    def _line(self, seconds: float) -> str:
        out = self._process.stdout
        if out is None or not select.select([out], [], [], seconds)[0]:
            raise VoidError(f"{self._title}: the load says nothing for {seconds:g} s")
        return out.readline().strip()
