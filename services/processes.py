"""The processes of a server: one that serves, or one that keeps N workers on the same sockets."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import structlog

from pki.errors import PKIError
from services import logs
from services.loading import AppNotFoundError, load_app
from services.transport.engine import LifespanFailureError, LifespanTimeoutError
from services.transport.sockets import Address, listen
from services.transport.source import CredentialSource
from services.transport.worker import Stop, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.context import SpawnProcess
    from types import FrameType

    from services.settings import Settings
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.processes")

_QUICK_DEATH = 1.0
"""Seconds: a worker that lived no longer is replaced after as long a pause, lest a broken machine spins."""


def run(settings: Settings, announce: Callable[[Snapshot, Sequence[Address]], None]) -> int:
    """Serve until asked to stop; return the exit code. `announce` is called once, when all workers accept connections.

    Everything that can be wrong is found before a socket listens.

    Raises:
        AppNotFoundError, BindError, PKIError: what the message says.
    """
    app = load_app(settings.app)
    source = CredentialSource(settings.credential, settings.listener(), settings.tls_policy)
    sockets = [sock for bind in settings.bind for sock in listen(Address.parse(bind))]
    addresses = _reachable(settings, sockets)

    def ready() -> None:
        announce(source.snapshot, addresses)

    if settings.workers == 1:
        stop = Stop()

        async def main() -> bool:
            stop.on_signals(signal.SIGINT, signal.SIGTERM)
            return await serve(
                app, settings.listener(), source, sockets, stop=stop, access=_access(settings), ready=ready
            )

        _run(main())
        return 0
    return _Supervisor(settings, sockets, ready).run()


def _reachable(settings: Settings, sockets: Sequence[socket.socket]) -> list[Address]:
    """The addresses as the user gave them, with the ports that the kernel gave for port 0."""
    ports = iter(dict.fromkeys(sock.getsockname()[1] for sock in sockets))
    asked = [Address.parse(bind) for bind in settings.bind]
    return [Address(address.host, address.port or next(ports)) for address in asked]


def _access(settings: Settings) -> Callable[[Any, int | None, float], None] | None:
    return logs.access if settings.access_log else None


def _settle() -> None:
    """Tell the garbage collector that what is loaded stays: its full passes would walk over it, again and again.

    Requests make short-lived cycles (tasks, exceptions). With the interpreter's defaults a quarter of the time of a
    small request goes into collections that find nothing old to free.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _run(main: Coroutine[Any, Any, bool]) -> None:
    """Run the server. Threads and tasks of an application that does not end are not waited for."""
    _settle()
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:  # a platform without it: asyncio's own loop serves as well, more slowly
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        if not runner.run(main):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # leaving the block would join the threads


def _work(settings: Settings, sockets: list[socket.socket], pipe: Pipe) -> None:
    """Be one worker. The pipe tells the parent that we are ready, and tells us when the parent is gone."""
    logs.configure(json=settings.json_logs)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent alone decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    stop = Stop()

    async def main() -> bool:
        stop.on_signals(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def parent_gone() -> None:
            loop.remove_reader(pipe.fileno())
            stop()

        loop.add_reader(pipe.fileno(), parent_gone)
        return await serve(
            app, config, source, sockets, stop=stop, access=_access(settings), ready=lambda: pipe.send("ready")
        )

    try:
        config = settings.listener()
        source = CredentialSource(settings.credential, config, settings.tls_policy)
        app = load_app(settings.app)
        _run(main())
    except (PKIError, AppNotFoundError, LifespanFailureError, LifespanTimeoutError) as error:
        log.error("worker cannot serve", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        sys.exit(1)


class _Supervisor:
    """Keeps the workers: starts them, tells them to stop, replaces one that died."""

    def __init__(self, settings: Settings, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._ready = ready
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[SpawnProcess, Pipe] = {}
        self._born: dict[SpawnProcess, float] = {}
        self._unready: set[SpawnProcess] = set()
        self._announced = False
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        resource_tracker.ensure_running()  # started by the first worker, it would unblock the signal in between
        for _ in range(self._settings.workers):
            self._start()
        failed = False
        while self._workers:
            for found in wait([w.sentinel for w in self._workers] + [self._workers[w] for w in self._unready]):
                worker = self._of(found)
                if worker is None:
                    continue
                if worker.exitcode is None and worker in self._unready and self._workers[worker].poll():
                    self._hear(worker)
                elif not worker.is_alive():
                    failed |= self._bury(worker)
        return 1 if failed else 0

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        worker = self._context.Process(target=_work, args=(self._settings, self._sockets, theirs))
        # Born with Ctrl-C blocked: a worker ignores it from its first instant.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()
        self._workers[worker] = ours
        self._born[worker] = time.monotonic()
        self._unready.add(worker)
        if self._stopping:  # a signal came while it was being started
            worker.terminate()

    def _of(self, found: Any) -> SpawnProcess | None:
        return next((w for w, pipe in self._workers.items() if found in (w.sentinel, pipe)), None)

    def _hear(self, worker: SpawnProcess) -> None:
        try:
            self._workers[worker].recv()
        except EOFError:  # it died before it was ready: its sentinel is next
            worker.join()
            return
        self._unready.discard(worker)
        if not self._unready and not self._announced:
            self._announced = True
            self._ready()

    def _bury(self, worker: SpawnProcess) -> bool:
        """Take leave of a worker that has ended; return whether the server has failed with it."""
        self._workers.pop(worker).close()
        lived = time.monotonic() - self._born.pop(worker)
        never_ready = worker in self._unready
        self._unready.discard(worker)
        if self._stopping:
            # One that was still starting had no handler yet, and died of the signal itself.
            return worker.exitcode not in ((0, -signal.SIGTERM) if never_ready else (0,))
        log.error("worker died", pid=worker.pid, exitcode=worker.exitcode, lived_seconds=round(lived, 1))
        if never_ready and not self._announced:
            self._stop()
            return True
        if lived < _QUICK_DEATH:
            time.sleep(_QUICK_DEATH)
        self._start()
        return False

    def _stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:  # noqa: ARG002 - a handler's
        self._stopping = True
        for worker in self._workers:
            worker.terminate()
