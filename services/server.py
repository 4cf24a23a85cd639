"""What one process serves: the application, with all that stands in front of it and all that watches."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from services import logs, metrics
from services.admin.routes import create_admin
from services.admin.service import Readiness
from services.admin.serving import serving
from services.audit import open_audit
from services.authorization.gate import Gate
from services.loading import load_app, load_engine
from services.overview import KEY, Overview
from services.settings import SettingsError
from services.transport.source import CredentialSource
from services.transport.worker import Stop, Terms, serve

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Sequence

    from services.audit import Audit
    from services.peer import Peer
    from services.settings import Settings
    from services.telemetry import Tracing
    from services.transport.engine import AppWrapper


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

        Return whether all has ended. Once a process: counters and exporters are the process's.
        """
        overview = self._observe(stop)

        def stopping() -> bool:
            # Who yields has a successor that is ready: a probe that it still answers hears of the server, not of it.
            return stop.asked.is_set() and (yielding is None or not yielding.is_set())

        readiness = Readiness(lambda: self.source.snapshot, stopping)
        trust = metrics.TrustCollector(lambda: self.source.snapshot, self.source.folder.name)
        admin_app = create_admin(readiness, partial(metrics.exposition, trust=trust))

        def started() -> None:
            readiness.started = True
            ready()

        self._config.logger_class = partial(logs.EngineLogger, ended=self._ended())  # type: ignore[assignment]
        async with serving(admin_app, admin, yielding):
            return await serve(
                self._app if self._tracing is None else self._tracing.trace(self._app),
                self._config,
                self.source,
                sockets,
                stop=stop,
                terms=self._terms(overview),
                ready=started,
                retire=retire,
            )

    def end(self) -> None:
        """Send the last spans."""
        if self._tracing is not None:
            self._tracing.end()

    def _observe(self, stop: Stop) -> Overview:
        """Begin to take note of what happens, for the pages, and for the metrics where somebody can ask for them."""
        settings = self._settings
        overview = Overview(
            snapshot=lambda: self.source.snapshot,
            stopping=stop.asked.is_set,
            guarded=settings.policy is not None or settings.authorizer is not None,
            workers=settings.workers,
            state=settings.state,
            database=settings.database,
        )
        self._audit.observers.append(overview.observe)
        if settings.admin_bind is not None:
            self._metrics = metrics.Metrics()
            self._audit.observers.append(self._metrics.observe)
        return overview

    def _terms(self, overview: Overview) -> Terms:
        limit = self._settings.max_requests
        return Terms(
            limits=self._settings.limits(),
            admission=self._settings.admission(),
            audit=self._audit,
            access=self._ended(),
            state={KEY: overview},
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
