"""What one process serves: the application, with all that stands in front of it and all that watches.

What only some servers have is imported where they are found to have it: the admin listener brings Quart, enrollment
connectrpc and the inventory, together more than half of the time in which a server starts.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from socket import AF_UNIX
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pki.authority_files import check_passphrase, read_passphrase
from pki.state import State
from services import logs, metrics
from services.admin.binding import answers_to
from services.admin.service import Readiness
from services.audit import KEY as AUDIT
from services.audit import open_audit
from services.authorization.gate import Gate
from services.loading import load_app, load_engine
from services.overview import KEY, Overview
from services.settings import SettingsError
from services.stock import serving
from services.transport.source import CredentialSource
from services.transport.worker import Stop, Terms, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from services.audit import Audit
    from services.enrollment.service import Enrollment
    from services.peer import Peer
    from services.settings import Settings
    from services.telemetry import Tracing
    from services.transport.accepting import Share
    from services.transport.engine import AppWrapper


_LAST_WORDS = 1.0
"""Seconds before the end of `graceful_timeout` at which streams are told of it."""


class Sockets(NamedTuple):
    """What is listened on, and for whom."""

    main: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    enroll: Sequence[socket.socket] = ()


class AuditLogError(OSError):
    """The audit log cannot be written; the message names the file."""


class Server:
    """What one process serves, and with what: everything that can be wrong is found when it is made."""

    def __init__(self, settings: Settings) -> None:
        """Raises AppNotFoundError, AuditLogError, PKIError, SettingsError."""
        self._settings = settings
        self._tracing = _tracing(settings)
        self._metrics: metrics.Metrics | None = None
        self._audit = _audit(settings)
        self._config = settings.listener()
        app = load_app(settings.app)
        engine = None if settings.authorizer is None else load_engine(settings.authorizer)
        self.source = CredentialSource(settings.credential, self._config, settings.trust_rules(), self._audit)
        if settings.policy is not None or engine is not None:
            app = cast("AppWrapper", Gate(app, lambda: self.source.snapshot.policy, engine, self._decided))
        self._app = app
        self._enrollment = _enrollment(settings, self._audit)

    def reload(self, done: Callable[[bool], None] = lambda _: None) -> None:
        """Look at the files anew, and open the audit log anew: it may have been moved. `done` hears whether they are
        sound.
        """
        self.source.reload_now(done)
        self._audit.reopen()

    async def serve(
        self,
        sockets: Sockets,
        *,
        stop: Stop,
        ready: Callable[[], None],
        retire: Callable[[], None] = lambda: None,
        yielding: asyncio.Event | None = None,
        share: Share | None = None,
    ) -> bool:
        """Serve until asked to stop, and beside it until that is done, or until `yielding` is set.

        `share` is this worker's, where it is one of several.
        Return whether all has ended. Once a process: counters and exporters are the process's.
        """
        overview = self._observe(stop)

        def stopping() -> bool:
            # Who yields has a successor that is ready: a probe that it still answers hears of the server, not of it.
            return stop.asked.is_set() and (yielding is None or not yielding.is_set())

        readiness = Readiness(lambda: self.source.snapshot, stopping)

        def started() -> None:
            readiness.started = True
            ready()

        patience = asyncio.create_task(self._run_out_of_patience(stop, overview))
        self._config.logger_class = partial(logs.EngineLogger, ended=self._ended())  # type: ignore[assignment]
        try:
            async with self._administering(sockets.admin, readiness, yielding), self._enrolling(sockets.enroll):
                return await serve(
                    self._app if self._tracing is None else self._tracing.trace(self._app),
                    self._config,
                    self.source,
                    sockets.main,
                    stop=stop,
                    terms=self._terms(overview),
                    ready=started,
                    retire=retire,
                    share=share,
                )
        finally:
            patience.cancel()

    async def _run_out_of_patience(self, stop: Stop, overview: Overview) -> None:
        """Tell streams that the server stops, in time for the words to arrive."""
        await stop.asked.wait()
        patience = self._settings.graceful_timeout
        await asyncio.sleep(patience - min(_LAST_WORDS, patience / 2))
        overview.end_streams()

    def end(self) -> None:
        """Count what ended last, send the last spans, and let go of the authority."""
        if self._metrics is not None:
            self._metrics.add_up()
        if self._tracing is not None:
            self._tracing.end()
        if self._enrollment is not None:
            self._enrollment.close()

    @asynccontextmanager
    async def _administering(
        self, sockets: Sequence[socket.socket], readiness: Readiness, ended: asyncio.Event | None
    ) -> AsyncIterator[None]:
        """Answer probes and who collects metrics, until `ended` where it is given."""
        if not sockets:
            yield
            return
        from services.admin.routes import create_admin

        settings = self._settings
        public = settings.admin_public or any(sock.family == AF_UNIX for sock in sockets)
        trust = metrics.TrustCollector(lambda: self.source.snapshot, self.source.folder.name)
        app = create_admin(
            readiness,
            partial(metrics.exposition, trust=trust),
            partial(answers_to, bind=settings.admin_bind or "", public=public),
        )
        async with serving(app, sockets, ended):
            yield

    @asynccontextmanager
    async def _enrolling(self, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
        """Answer those who have a token, under the credential that is in force."""
        if not sockets or self._enrollment is None:
            yield
            return
        from services.enrollment.listener import Bootstrapping

        listener = Bootstrapping(self._enrollment, self.source)
        self._audit.observers.append(listener.observe)
        async with serving(listener.app, sockets, context=listener.context):
            yield

    def _observe(self, stop: Stop) -> Overview:
        """Begin to take note of what happens, for the pages, and for the metrics where somebody can ask for them."""
        settings = self._settings
        overview = Overview(
            snapshot=lambda: self.source.snapshot,
            folder=settings.credential,
            stopping=stop.asked.is_set,
            guarded=settings.policy is not None or settings.authorizer is not None,
            workers=settings.workers,
            state=settings.state,
            database=settings.database,
        )
        self._audit.observers.append(overview.observe)
        if settings.admin_bind is not None:
            self._metrics = metrics.Metrics(later=asyncio.get_running_loop().call_soon)
            self._audit.observers.append(self._metrics.observe)
        return overview

    def _terms(self, overview: Overview) -> Terms:
        limit = self._settings.max_requests
        return Terms(
            limits=self._settings.limits(),
            admission=self._settings.admission(),
            audit=self._audit,
            access=self._ended(),
            state={KEY: overview, AUDIT: self._audit} | self._enrollment_state(),
            # Not all of them at the same moment.
            max_requests=None if limit is None else limit + random.randrange(limit // 10 + 1),  # noqa: S311 - no secret
        )

    def _enrollment_state(self) -> dict[str, Any]:
        if self._enrollment is None:
            return {}
        from services.enrollment.service import KEY as ENROLLMENT

        return {ENROLLMENT: self._enrollment}

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


def _enrollment(settings: Settings, audit: Audit) -> Enrollment | None:
    """Who asks the authority, where certificates are issued here: its key and its inventory are opened now."""
    if not settings.issues or settings.state is None:
        return None
    from pki.enrolling import Enrolling
    from pki.lifecycle import Lifecycle
    from services.enrollment.service import Enrollment

    passphrase = None if settings.passphrase_file is None else read_passphrase(settings.passphrase_file)
    if passphrase is None and (spoken := os.environb.get(b"HANDCLASP_CA_PASSPHRASE")) is not None:
        passphrase = check_passphrase(spoken)
    lifecycle = Lifecycle(State(settings.state), passphrase, settings.database, "handclasp-serve")
    lifetime = None if settings.enrollment_lifetime is None else timedelta(seconds=settings.enrollment_lifetime)
    return Enrollment(Enrolling(lifecycle, lifetime=lifetime), audit, per_minute=settings.enrollment_rate)


def _audit(settings: Settings) -> Audit:
    try:
        return open_audit(settings.audit_log)
    except OSError as error:
        raise AuditLogError(f"the audit log {settings.audit_log} cannot be written: {error.strerror}") from error


def _tracing(settings: Settings) -> Tracing | None:
    """What makes traces, where they are asked for: not imported else. A span is around the policy's answer too."""
    if not settings.traces:
        return None
    try:
        from services.telemetry import Tracing
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("opentelemetry"):
            raise
        raise SettingsError("traces: OpenTelemetry is not installed: pip install 'handclasp[otel]'") from None
    return Tracing()
