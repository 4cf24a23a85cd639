"""The processes of a server: one that serves, or one that keeps N workers on the same sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog

from pki.errors import PKIError
from services import logs, metrics
from services.admin.routes import create_admin
from services.admin.service import Readiness
from services.admin.serving import admin_sockets, forget_socket, serving
from services.audit import open_audit
from services.authorization.gate import Gate
from services.loading import AppNotFoundError, load_app, load_engine
from services.supervisor import Supervisor, Word
from services.transport.engine import LifespanFailureError, LifespanTimeoutError
from services.transport.sockets import Address, listen
from services.transport.source import CredentialSource
from services.transport.worker import Stop, Terms, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from multiprocessing.connection import Connection as Pipe

    from services.audit import Audit
    from services.peer import Peer
    from services.settings import Settings
    from services.transport.engine import AppWrapper
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.processes")


class AuditLogError(OSError):
    """The audit log cannot be written; the message names the file."""


def run(settings: Settings, announce: Callable[[Snapshot, Sequence[Address]], None]) -> int:
    """Serve until asked to stop; return the exit code. `announce` is called once, when all workers accept connections.

    Everything that can be wrong is found before a socket listens.

    Raises:
        AppNotFoundError, AuditLogError, BindError, PKIError: what the message says.
    """
    server = _Server(settings)
    sockets = [sock for bind in settings.bind for sock in listen(Address.parse(bind))]
    addresses = _reachable(settings, sockets)
    admin = [] if settings.admin_bind is None else admin_sockets(settings.admin_bind)

    def ready() -> None:
        announce(server.source.snapshot, addresses)

    try:
        if settings.workers > 1 or settings.max_requests is not None:
            with metrics.shared() if settings.admin_bind is not None else nullcontext():
                work = partial(_work, settings, sockets, admin)
                return Supervisor(work, settings.workers, ready, buried=metrics.bury).run()
        stop = Stop()

        async def main() -> bool:
            stop.on_signals(signal.SIGINT, signal.SIGTERM)
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _no_rolling_restart)
            return await server.serve(sockets, admin, stop=stop, ready=ready)

        server.observe()
        _run(main())
        return 0
    finally:
        if settings.admin_bind is not None:
            forget_socket(settings.admin_bind)


class _Server:
    """What one process serves, and with what: everything that can be wrong is found when it is made."""

    def __init__(self, settings: Settings) -> None:
        """Raises AppNotFoundError, AuditLogError, PKIError."""
        self._settings = settings
        self._metrics: metrics.Metrics | None = None
        self._audit = _audit(settings)
        self._config = settings.listener()
        app = load_app(settings.app)
        engine = None if settings.authorizer is None else load_engine(settings.authorizer)
        self.source = CredentialSource(settings.credential, self._config, settings.trust_rules(), self._audit)
        if settings.policy is not None or engine is not None:
            app = cast("AppWrapper", Gate(app, lambda: self.source.snapshot.policy, engine, self._decided))
        self._app = app

    def observe(self) -> None:
        """Begin to count, where somebody can ask. Once a process, in the one that serves."""
        if self._settings.admin_bind is not None:
            self._metrics = metrics.Metrics()
            self._audit.observers.append(self._metrics.observe)

    async def serve(
        self,
        sockets: Sequence[socket.socket],
        admin: Sequence[socket.socket],
        *,
        stop: Stop,
        ready: Callable[[], None],
        retire: Callable[[], None] = lambda: None,
        yielding: asyncio.Event | None = None,
    ) -> bool:
        """Serve until asked to stop, and on the admin sockets until that is done, or until `yielding` is set.

        Return whether all has ended.
        """
        readiness = Readiness(lambda: self.source.snapshot, stop.asked.is_set)
        trust = metrics.TrustCollector(lambda: self.source.snapshot, self.source.folder.name)
        admin_app = create_admin(readiness, partial(metrics.exposition, trust=trust))

        def started() -> None:
            readiness.started = True
            ready()

        self._config.logger_class = partial(logs.EngineLogger, ended=self._ended())  # type: ignore[assignment]
        async with serving(admin_app, admin, yielding):
            return await serve(
                self._app,
                self._config,
                self.source,
                sockets,
                stop=stop,
                terms=self._terms(),
                ready=started,
                retire=retire,
            )

    def _terms(self) -> Terms:
        limit = self._settings.max_requests
        return Terms(
            limits=self._settings.limits(),
            admission=self._settings.admission(),
            audit=self._audit,
            access=self._ended(),
            # Not all of them at the same moment.
            max_requests=None if limit is None else limit + random.randrange(limit // 10 + 1),  # noqa: S311 - no secret
        )

    def _ended(self) -> logs.Ended | None:
        """Who is told of a request that has ended: the access log, the metrics, both, nobody."""
        access = logs.access if self._settings.access_log else None
        if self._metrics is None:
            return access
        count = self._metrics.request
        if access is None:
            return count

        def both(scope: Any, status: int | None, seconds: float) -> None:
            access(scope, status, seconds)
            count(scope, status, seconds)

        return both

    def _decided(self, peer: Peer, allowed: bool, by: str, reason: str) -> None:
        if not allowed:
            self._audit.request_refused(peer, reason, 403)
        if self._metrics is not None:
            self._metrics.decided(allowed, by)


def _reachable(settings: Settings, sockets: Sequence[socket.socket]) -> list[Address]:
    """The addresses as the user gave them, with the ports that the kernel gave for port 0."""
    ports = iter(dict.fromkeys(sock.getsockname()[1] for sock in sockets))
    asked = [Address.parse(bind) for bind in settings.bind]
    return [Address(address.host, address.port or next(ports)) for address in asked]


def _audit(settings: Settings) -> Audit:
    try:
        return open_audit(settings.audit_log)
    except OSError as error:
        raise AuditLogError(f"the audit log {settings.audit_log} cannot be written: {error.strerror}") from error


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


def _work(settings: Settings, sockets: Sequence[socket.socket], admin: Sequence[socket.socket], pipe: Pipe) -> None:
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
            admin,
            stop=stop,
            ready=lambda: pipe.send(Word.READY),
            retire=lambda: pipe.send(Word.RETIRE),
            yielding=yielding,
        )

    try:
        server = _Server(settings)
        server.observe()
        _run(main())
    except (PKIError, AppNotFoundError, AuditLogError, LifespanFailureError, LifespanTimeoutError) as error:
        log.error("worker cannot serve", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        sys.exit(1)
