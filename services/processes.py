"""The processes of a server: one that serves, or one that keeps N workers on the same sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from pki.errors import PKIError
from services import logs, metrics
from services.admin.binding import admin_sockets, forget_socket
from services.loading import AppNotFoundError
from services.server import AuditLogError, Server, Sockets
from services.settings import SettingsError
from services.supervisor import Supervisor, Word
from services.transport.engine import LifespanFailureError, LifespanTimeoutError
from services.transport.sockets import Address, listen
from services.transport.worker import Stop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from multiprocessing.connection import Connection as Pipe

    from services.settings import Settings
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.processes")


def run(settings: Settings, announce: Callable[[Snapshot, Sequence[Address]], None]) -> int:
    """Serve until asked to stop; return the exit code. `announce` is called once, when all workers accept connections.

    Everything that can be wrong is found before a socket listens.

    Raises:
        AppNotFoundError, AuditLogError, BindError, PKIError, SettingsError: what the message says.
    """
    server = Server(settings)
    sockets = Sockets(
        main=[sock for bind in settings.bind for sock in listen(Address.parse(bind))],
        admin=() if settings.admin_bind is None else admin_sockets(settings.admin_bind),
        enroll=() if settings.enroll_bind is None else listen(Address.parse(settings.enroll_bind)),
    )
    addresses = _reachable(settings, sockets.main)

    def ready() -> None:
        announce(server.source.snapshot, addresses)

    try:
        if settings.workers > 1 or settings.max_requests is not None:
            with metrics.shared() if settings.admin_bind is not None else nullcontext():
                work = partial(_work, settings, sockets)
                return Supervisor(work, settings.workers, ready, buried=metrics.bury).run()
        stop = Stop()

        async def main() -> bool:
            stop.on_signals(signal.SIGINT, signal.SIGTERM)
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _no_rolling_restart)
            return await server.serve(sockets, stop=stop, ready=ready)

        _run(server, main())
        return 0
    finally:
        if settings.admin_bind is not None:
            forget_socket(settings.admin_bind)


def _reachable(settings: Settings, sockets: Sequence[socket.socket]) -> list[Address]:
    """The addresses as the user gave them, with the ports that the kernel gave for port 0."""
    ports = iter(dict.fromkeys(sock.getsockname()[1] for sock in sockets))
    asked = [Address.parse(bind) for bind in settings.bind]
    return [Address(address.host, address.port or next(ports)) for address in asked]


def _no_rolling_restart() -> None:
    log.warning("SIGUSR2 restarts workers one by one, and there is one: use --workers 2 or more")


def _settle() -> None:
    """Tell the garbage collector that what is loaded stays: its full passes would walk over it, again and again.

    Requests make short-lived cycles (tasks, exceptions). With the interpreter's defaults a quarter of the time of a
    small request goes into collections that find nothing old to free.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _run(server: Server, main: Coroutine[Any, Any, bool]) -> None:
    """Run the server, to its last span. Threads and tasks of an application that does not end are not waited for."""
    _settle()
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:  # a platform without it: asyncio's own loop serves as well, more slowly
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        ended = runner.run(main)
        server.end()
        if not ended:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # leaving the block would join the threads


def _work(settings: Settings, sockets: Sockets, pipe: Pipe) -> None:
    """Be one worker. The pipe tells the parent that we are ready, and tells us when to leave: also when it is gone."""
    logs.configure(json=settings.json_logs)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent alone decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    stop = Stop()

    async def main() -> bool:
        stop.on_signals(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        yielding = asyncio.Event()

        def heard() -> None:
            loop.remove_reader(pipe.fileno())
            with suppress(EOFError, OSError):
                if pipe.recv() is Word.YIELD:
                    yielding.set()
            stop()

        loop.add_reader(pipe.fileno(), heard)
        return await server.serve(
            sockets,
            stop=stop,
            ready=lambda: pipe.send(Word.READY),
            retire=lambda: pipe.send(Word.RETIRE),
            yielding=yielding,
        )

    try:
        server = Server(settings)
        _run(server, main())
    except (
        PKIError,
        AppNotFoundError,
        AuditLogError,
        SettingsError,
        LifespanFailureError,
        LifespanTimeoutError,
    ) as error:
        log.error("worker cannot serve", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        sys.exit(1)
