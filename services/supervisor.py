"""Supervisor: keeps N workers on the same sockets, replaces who dies, and restarts them one after another.

SIGTERM and SIGINT stop all; SIGHUP goes on to each worker, which looks at its files; SIGUSR2 replaces the workers one
by one, each only when its successor serves: no request is lost, and a broken update leaves the old ones at work. The
service manager is told of all that, and of the watchdog only while every worker that serves answers.
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

from services.notify import Notifier
from services.transport.accepting import Shares

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.context import SpawnProcess
    from types import FrameType

    from services.transport.accepting import Share

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
    PING = "ping"
    """Said to it: does its event loop turn?"""
    PONG = "pong"
    """It does."""
    RELOAD = "reload"
    """Said to it: look at the files."""
    RELOADED = "reloaded"
    """It has, and serves by them."""
    REFUSED = "refused"
    """It has, and serves by what it had before."""


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Pipe
    succeeds: _Worker | None
    share: Share
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    leaving: bool = False
    asked: bool = False
    """Whether it owes an answer to a PING."""
    reloads: int = 0
    """How many reloads it has not answered yet."""

    @property
    def serves(self) -> bool:
        return self.ready and not self.leaving and not self.pipe.closed

    def tell(self, word: Word) -> bool:
        """Whether it could be told: one that has just died is buried soon."""
        try:
            self.pipe.send(word)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        self.leaving = True
        self.process.terminate()

    def give_way(self) -> None:
        self.leaving = True
        if not self.tell(Word.YIELD):
            self.process.terminate()


class Supervisor:
    """The parent of `count` workers, each a process of its own that runs `work(pipe, share)`."""

    def __init__(
        self,
        work: Callable[[Pipe, Share], None],
        count: int,
        ready: Callable[[], None],
        buried: Callable[[int], None] = lambda _: None,
        notifier: Notifier | None = None,
    ) -> None:
        """`ready` is called once, when all of them are; `buried` with the id of each process that has ended."""
        self._notifier = notifier or Notifier()
        self._work = work
        self._buried = buried
        self._count = count
        self._ready = ready
        self._context = multiprocessing.get_context("spawn")
        self._shares = Shares(count)
        self._workers: list[_Worker] = []
        self._outgoing: deque[_Worker] = deque()
        self._announced = False
        self._stopping = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._restart = False
        self._reload = False
        self._reloading = False
        self._refused = False
        self._next_round = 0.0

    def run(self) -> int:
        """Return the exit code, when the last worker has ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload_asked)
        signal.signal(signal.SIGUSR2, self._restart_asked)
        resource_tracker.ensure_running()  # started by the first worker, it would unblock the signal in between
        for _ in range(self._count):
            self._start()
        failed = False
        while self._workers:
            speaking = [worker.pipe for worker in self._workers if not worker.pipe.closed]
            sentinels = [worker.process.sentinel for worker in self._workers]
            found = wait([self._woken, *sentinels, *speaking], self._until_next_round())
            with suppress(BlockingIOError):
                os.read(self._woken, 512)
            for worker in list(self._workers):
                if worker.pipe in found:
                    self._hear(worker)
                if worker.process.sentinel in found and not worker.process.is_alive():
                    failed |= self._bury(worker)
            if self._reload:
                self._reload = False
                self._pass_on()
            self._end_reload()
            if self._restart:
                self._restart = False
                self._outgoing.extend(w for w in self._workers if not w.leaving and w not in self._outgoing)
            self._replace_next()
        return 1 if failed else 0

    def _start(self, succeeds: _Worker | None = None) -> None:
        ours, theirs = self._context.Pipe()
        share = self._shares.new({worker.share.place for worker in self._workers})
        process = self._context.Process(target=self._work, args=(theirs, share))
        # Born with Ctrl-C blocked: a worker ignores it from its first instant.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        worker = _Worker(process, ours, succeeds, share)
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
        elif word is Word.PONG:
            worker.asked = False
            if not any(other.asked for other in self._workers if other.serves):
                self._notifier.alive()
        elif word in (Word.RELOADED, Word.REFUSED):
            worker.reloads -= 1
            self._refused |= word is Word.REFUSED
        elif word is Word.READY:
            self._welcome(worker)

    def _welcome(self, worker: _Worker) -> None:
        worker.ready = True
        if worker.succeeds is not None and worker.succeeds in self._workers:
            log.info("worker replaced", pid=worker.succeeds.process.pid, successor=worker.process.pid)
            worker.succeeds.give_way()
        if not self._announced and all(w.ready for w in self._workers):
            self._announced = True
            self._ready()

    def _until_next_round(self) -> float | None:
        """Ask all that serve whether they still do, where it is time; return the seconds until the next time.

        Three rounds in the watchdog's time: who is slow for most of it is not yet dead. None: nobody watches.
        """
        watchdog = self._notifier.watchdog
        if watchdog is None or not self._announced:
            return None
        now = time.monotonic()
        if now >= self._next_round:
            self._next_round = now + watchdog / 3
            for worker in self._workers:
                if worker.serves and not worker.asked:
                    worker.asked = worker.tell(Word.PING)
        return self._next_round - now

    def _pass_on(self) -> None:
        """Have every worker look at its files. Who is starting reads them anyway."""
        for worker in self._workers:
            if worker.serves:
                worker.reloads += worker.tell(Word.RELOAD)
            elif worker.ready and worker.process.pid is not None:  # on its way out, it hears signals alone
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGHUP)
        if self._announced and not self._stopping:
            self._reloading = True
            self._notifier.reloading()

    def _end_reload(self) -> None:
        """Say that the reload is over, once everybody who was asked has answered, leaves or is dead."""
        if self._reloading and not any(worker.reloads for worker in self._workers if worker.serves):
            self._notifier.reloaded(sound=not self._refused)
            self._reloading = self._refused = False

    def _bury(self, worker: _Worker) -> bool:
        """Take leave of a worker that has ended; return whether the server has failed with it."""
        self._workers.remove(worker)
        worker.share.leave()
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
        if not self._stopping:
            self._notifier.stopping()
        self._stopping = True
        for worker in self._workers:
            worker.leave()

    def _reload_asked(self, number: int, frame: Any) -> None:  # noqa: ARG002
        self._reload = True
        with suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _restart_asked(self, number: int, frame: Any) -> None:  # noqa: ARG002
        self._restart = True
        with suppress(BlockingIOError):
            os.write(self._wake, b".")
