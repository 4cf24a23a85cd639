"""OpenTelemetry for this process: where spans go, how many there are, and what the service is called.

All of it is said by OpenTelemetry's own environment variables. Nobody imports this module, nor OpenTelemetry, unless
traces are asked for (`--traces`).
"""

from __future__ import annotations

import logging
import os
import threading
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from pki.shell import visible
from services.settings import SettingsError
from services.tracing import Traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace.export import SpanExporter

    from services.transport.engine import AppWrapper

_LONGEST = 1_024
"""Characters of a line in the log."""

_LAST_WORDS = 3.0
"""Seconds that a collector has for the last spans when the server stops; it may be away."""

_EXPORTERS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""OTEL_EXPORTER_OTLP_PROTOCOL -> the name under which an exporter is installed."""


class Tracing:
    """Traces of one process, from the environment to the last span."""

    def __init__(self) -> None:
        """Find the exporters; nothing is started yet.

        Raises:
            SettingsError: OTEL_TRACES_EXPORTER names one that is not there, or that cannot be set up.
        """
        logging.getLogger("opentelemetry").addHandler(_Relay(logging.WARNING))
        self._exporters = list(_exporters(os.environ))
        self._provider: TracerProvider | None = None

    def trace(self, app: AppWrapper) -> AppWrapper:
        """Start what sends spans, and put spans around every call of `app`.

        An application that has set up OpenTelemetry itself, when it was imported, keeps its own provider.
        """
        provider = trace.get_tracer_provider()
        theirs = isinstance(provider, TracerProvider)
        if not isinstance(provider, TracerProvider):
            provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            for exporter in self._exporters:
                provider.add_span_processor(BatchSpanProcessor(exporter))
            trace.set_tracer_provider(provider)
        self._provider = provider
        return cast("AppWrapper", Traces(app, provider.get_tracer("handclasp"), alone=not theirs))

    def end(self) -> None:
        """Send the spans that are left, as long as that takes little time."""
        if self._provider is not None:
            last = threading.Thread(target=self._provider.shutdown, daemon=True)
            last.start()
            last.join(_LAST_WORDS)


def _resource() -> Resource:
    """Whose spans these are: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, or else `handclasp`."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "handclasp"}))
    return resource


def _exporters(environment: Mapping[str, str]) -> Iterator[SpanExporter]:
    """Those that OTEL_TRACES_EXPORTER names, with commas between them: `otlp` by default, `console`, `none`, others.

    The SDK reads the variable too, but only where its private configurator sets up metrics and logs as well.
    """
    for asked in (environment.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        name = asked.strip()
        if name == "none":
            continue
        if name == "otlp":
            protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
                "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
            )
            name = _EXPORTERS.get(protocol, protocol)
        found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
        if not found:
            raise SettingsError(
                f"traces: no exporter '{name}' is installed (OTEL_TRACES_EXPORTER=otlp, console or none)"
            )
        try:
            yield found[0].load()()
        except Exception as error:
            raise SettingsError(f"traces: the exporter '{name}' cannot be set up: {error}") from error


class _Relay(logging.Handler):
    """What OpenTelemetry has to say, such as a collector that is away, as lines of ours.

    An application that has set up `logging` hears it there.
    """

    _log = structlog.get_logger("handclasp.traces")

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self._log.warning(visible(record.getMessage())[:_LONGEST])
