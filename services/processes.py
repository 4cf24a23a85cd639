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
from services.admin.binding import forget_socket
from services.listening import open_sockets
from services.loading import AppNotFoundError
from services.notify import Notifier
from services.server import AuditLogError, Server
from services.settings import SettingsError
from services.supervisor import Supervisor, Word
from services.transport.engine import LifespanFailureError, LifespanTimeoutError
from services.transport.worker import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from multiprocessing.connection import Connection as Pipe

    from services.server import Sockets
    from services.settings import Settings
    from services.transport.accepting import Share
    from services.transport.snapshot import Snapshot
    from services.transport.sockets import Address

log = structlog.get_logger("handclasp.processes")


def run(settings: Settings, announce: Callable[[Snapshot, Sequence[Address]], None]) -> int:
    """Serve until asked to stop; return the exit code. `announce` is called once, when all workers accept connections.

    Everything that can be wrong is found before a socket listens.

    Raises:
        AppNotFoundError, AuditLogError, BindError, PKIError, SettingsError: what the message says.
    """
    notifier = Notifier.take(os.environ)
    if settings.admin_bind is not None:
        metrics.sweep()
    server = Server(settings)
    sockets, addresses = open_sockets(settings)

    def ready() -> None:
        announce(server.source.snapshot, addresses)
        notifier.ready(f"serving {' '.join(f'https://{address}' for address in addresses)}")

    try:
        if settings.workers > 1 or settings.max_requests is not None:
            with metrics.shared() if settings.admin_bind is not None else nullcontext():
                work = partial(_work, settings, sockets)
                buried = metrics.Undertaker().bury
                return Supervisor(work, settings.workers, ready, buried=buried, notifier=notifier).run()
        stop = Stop()

        async def main() -> bool:
            loop = asyncio.get_running_loop()
            stop.on_signals(signal.SIGINT, signal.SIGTERM)
            loop.add_signal_handler(signal.SIGUSR2, _no_rolling_restart)
            speaking: list[asyncio.Task[None]] = []

            def reload() -> None:
                if not speaking or stop.asked.is_set():  # a manager hears of it while it runs, neither before nor after
                    server.reload()
                    return
                notifier.reloading()
                server.reload(lambda sound: notifier.reloaded(sound=sound))

            def started() -> None:
                ready()
                speaking.append(loop.create_task(_keep_telling(notifier, stop)))

            loop.add_signal_handler(signal.SIGHUP, reload)
            try:
                return await server.serve(sockets, stop=stop, ready=started)
            finally:
                for task in speaking:
                    task.cancel()

        _run(server, main)
        return 0
    finally:
        if settings.admin_bind is not None:
            forget_socket(settings.admin_bind)


async def _keep_telling(notifier: Notifier, stop: Stop) -> None:
    """Tell the service manager that the event loop turns, while it does; and that it stops, once."""
    pause = None if notifier.watchdog is None else notifier.watchdog / 3
    while not stop.asked.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.asked.wait(), pause)
            break
        notifier.alive()
    notifier.stopping()


def _no_rolling_restart() -> None:
    log.warning("SIGUSR2 restarts workers one by one, and there is one: use --workers 2 or more")


def _settle() -> None:
    """Tell the garbage collector that what is loaded stays: its full passes would walk over it, again and again.

    Requests make short-lived cycles (tasks, exceptions). With the interpreter's defaults a quarter of the time of a
    small request goes into collections that find nothing old to free. A collection of the middle generation goes over
    fifty thousand objects: with four times as many, ten thousand connections waited 70 ms for it, and now 20.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 200)


def _run(server: Server, main: Callable[[], Coroutine[Any, Any, bool]]) -> None:
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
        ended = runner.run(main())  # begun here: Ctrl-C before leaves no coroutine behind that nobody awaited
        server.end()
        if not ended:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # leaving the block would join the threads


def _work(settings: Settings, sockets: Sockets, pipe: Pipe, share: Share) -> None:
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
            try:
                word = pipe.recv()
            except (EOFError, OSError):  # the parent is gone
                word = None
            if word is Word.PING:
                say(Word.PONG)
            elif word is Word.RELOAD:
                server.reload(lambda sound: say(Word.RELOADED if sound else Word.REFUSED))
            else:
                loop.remove_reader(pipe.fileno())
                if word is Word.YIELD:
                    yielding.set()
                stop()

        def say(word: Word) -> None:
            with suppress(OSError):  # to who is gone: read at the next turn
                pipe.send(word)

        loop.add_reader(pipe.fileno(), heard)
        loop.add_signal_handler(signal.SIGHUP, server.reload)
        return await server.serve(
            sockets,
            stop=stop,
            ready=lambda: pipe.send(Word.READY),
            retire=lambda: pipe.send(Word.RETIRE),
            yielding=yielding,
            share=share,
        )

    try:
        server = Server(settings)
        _run(server, main)
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
