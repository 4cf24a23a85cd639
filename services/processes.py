"""The processes of a server: one that serves, or one that keeps N workers on the same sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog

from pki.errors import PKIError
from services import logs
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
    app = load_app(settings.app)
    source = CredentialSource(settings.credential, settings.listener(), settings.trust_rules())
    terms = _terms(settings)
    app = _gated(app, settings, source, terms.audit)
    sockets = [sock for bind in settings.bind for sock in listen(Address.parse(bind))]
    addresses = _reachable(settings, sockets)

    def ready() -> None:
        announce(source.snapshot, addresses)

    if settings.workers == 1 and settings.max_requests is None:
        source.audit = terms.audit
        stop = Stop()

        async def main() -> bool:
            stop.on_signals(signal.SIGINT, signal.SIGTERM)
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _no_rolling_restart)
            return await serve(app, settings.listener(), source, sockets, stop=stop, terms=terms, ready=ready)

        _run(main())
        return 0
    return Supervisor(partial(_work, settings, sockets), settings.workers, ready).run()


def _reachable(settings: Settings, sockets: Sequence[socket.socket]) -> list[Address]:
    """The addresses as the user gave them, with the ports that the kernel gave for port 0."""
    ports = iter(dict.fromkeys(sock.getsockname()[1] for sock in sockets))
    asked = [Address.parse(bind) for bind in settings.bind]
    return [Address(address.host, address.port or next(ports)) for address in asked]


def _terms(settings: Settings) -> Terms:
    try:
        audit = open_audit(settings.audit_log)
    except OSError as error:
        raise AuditLogError(f"the audit log {settings.audit_log} cannot be written: {error.strerror}") from error
    limit = settings.max_requests
    return Terms(
        limits=settings.limits(),
        admission=settings.admission(),
        audit=audit,
        access=logs.access if settings.access_log else None,
        # Not all of them at the same moment.
        max_requests=None if limit is None else limit + random.randrange(limit // 10 + 1),  # noqa: S311 - no secret
    )


def _gated(app: AppWrapper, settings: Settings, source: CredentialSource, audit: Audit) -> AppWrapper:
    """The application behind the policy of the current Snapshot, where there is one to ask."""
    if settings.policy is None and settings.authorizer is None:
        return app
    engine = None if settings.authorizer is None else load_engine(settings.authorizer)

    def refused(peer: Peer, reason: str) -> None:
        audit.request_refused(peer, reason, 403)

    return cast("AppWrapper", Gate(app, lambda: source.snapshot.policy, engine, refused))


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
            app,
            config,
            source,
            sockets,
            stop=stop,
            terms=terms,
            ready=lambda: pipe.send(Word.READY),
            retire=lambda: pipe.send(Word.RETIRE),
        )

    try:
        config = settings.listener()
        terms = _terms(settings)
        source = CredentialSource(settings.credential, config, settings.trust_rules(), terms.audit)
        app = _gated(load_app(settings.app), settings, source, terms.audit)
        _run(main())
    except (PKIError, AppNotFoundError, AuditLogError, LifespanFailureError, LifespanTimeoutError) as error:
        log.error("worker cannot serve", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        sys.exit(1)
