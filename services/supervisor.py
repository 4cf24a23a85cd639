"""Supervisor: keeps N workers on the same sockets, replaces who dies, and restarts them one after another.

SIGTERM and SIGINT stop all; SIGHUP goes on to each worker, which looks at its files; SIGUSR2 replaces the workers one
by one, each only when its successor serves: no request is lost, and a broken update leaves the old ones at work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.context import SpawnProcess
    from types import FrameType

log = structlog.get_logger("handclasp.processes")

_QUICK_DEATH = 1.0
"""Seconds: a worker that lived no longer is replaced after as long a pause, lest a broken machine spins."""


class Word(Enum):
    """What a worker and its supervisor say to each other."""

    READY = "ready"
    """It accepts connections."""
    YIELD = "yield"
    """Said to it: its successor is ready. It leaves, and answers no probes any more: the successor does."""
    RETIRE = "retire"
    """It has answered as many requests as it should, and wants a successor."""


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Pipe
    succeeds: _Worker | None
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    leaving: bool = False

    def leave(self) -> None:
        self.leaving = True
        self.process.terminate()

    def give_way(self) -> None:
        self.leaving = True
        try:
            self.pipe.send(Word.YIELD)
        except OSError:
            self.process.terminate()


class Supervisor:
    """The parent of `count` workers, each a process of its own that runs `work(pipe)`."""

    def __init__(
        self,
        work: Callable[[Pipe], None],
        count: int,
        ready: Callable[[], None],
        buried: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`ready` is called once, when all of them are; `buried` with the id of each process that has ended."""
        self._work = work
        self._buried = buried
        self._count = count
        self._ready = ready
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._outgoing: deque[_Worker] = deque()
        self._announced = False
        self._stopping = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._restart = False

    def run(self) -> int:
        """Return the exit code, when the last worker has ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        signal.signal(signal.SIGUSR2, self._restart_asked)
        resource_tracker.ensure_running()  # started by the first worker, it would unblock the signal in between
        for _ in range(self._count):
            self._start()
        failed = False
        while self._workers:
            speaking = [worker.pipe for worker in self._workers if not worker.pipe.closed]
            found = wait([self._woken, *(worker.process.sentinel for worker in self._workers), *speaking])
            with suppress(BlockingIOError):
                os.read(self._woken, 512)
            for worker in list(self._workers):
                if worker.pipe in found:
                    self._hear(worker)
                if worker.process.sentinel in found and not worker.process.is_alive():
                    failed |= self._bury(worker)
            if self._restart:
                self._restart = False
                self._outgoing.extend(w for w in self._workers if not w.leaving and w not in self._outgoing)
            self._replace_next()
        return 1 if failed else 0

    def _start(self, succeeds: _Worker | None = None) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=self._work, args=(theirs,))
        # Born with Ctrl-C blocked: a worker ignores it from its first instant.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        worker = _Worker(process, ours, succeeds)
        self._workers.append(worker)
        if self._stopping:  # a signal came while it was being started
            worker.leave()

    def _replace_next(self) -> None:
        """Start one successor at a time; its predecessor leaves when it is ready."""
        if self._stopping or any(worker.succeeds is not None and not worker.ready for worker in self._workers):
            return
        while self._outgoing:
            worker = self._outgoing.popleft()
            if worker in self._workers and not worker.leaving:
                self._start(succeeds=worker)
                return

    def _hear(self, worker: _Worker) -> None:
        try:
            word = worker.pipe.recv()
        except (EOFError, OSError):  # it has died: its sentinel is next
            worker.pipe.close()
            return
        if word is Word.RETIRE:
            self._outgoing.append(worker)
            return
        worker.ready = True
        if worker.succeeds is not None and worker.succeeds in self._workers:
            log.info("worker replaced", pid=worker.succeeds.process.pid, successor=worker.process.pid)
            worker.succeeds.give_way()
        if not self._announced and all(w.ready for w in self._workers):
            self._announced = True
            self._ready()

    def _bury(self, worker: _Worker) -> bool:
        """Take leave of a worker that has ended; return whether the server has failed with it."""
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.process.pid is not None:
            self._buried(worker.process.pid)
        code, lived = worker.process.exitcode, time.monotonic() - worker.born
        if self._stopping:
            # One that was still starting had no handler yet, and died of the signal itself.
            return code not in ((0,) if worker.ready else (0, -signal.SIGTERM))
        if worker.leaving and code == 0:
            return False
        log.error("worker died", pid=worker.process.pid, exitcode=code, lived_seconds=round(lived, 1))
        if not worker.ready and not self._announced:
            self._stop()
            return True
        if worker.leaving:
            return False
        if not worker.ready and worker.succeeds in self._workers:
            log.error("restart given up: the workers that serve go on")
            self._outgoing.clear()
            return False
        if lived < _QUICK_DEATH:
            time.sleep(_QUICK_DEATH)
        self._start()
        return False

    # What signals call: nothing but to set a flag, send one on, and wake the loop.

    def _stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:  # noqa: ARG002 - a handler's
        self._stopping = True
        for worker in self._workers:
            worker.leave()

    def _pass_on(self, number: int, frame: Any) -> None:  # noqa: ARG002
        for worker in self._workers:
            if worker.ready and worker.process.pid is not None:  # who is starting reads the files anew anyway
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

    def _restart_asked(self, number: int, frame: Any) -> None:  # noqa: ARG002
        self._restart = True
        with suppress(BlockingIOError):
            os.write(self._wake, b".")
