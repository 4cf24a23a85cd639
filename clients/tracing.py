"""Traces: a request that is made within a span gets a span of its own, and tells the server of it (W3C Trace Context).

Who has a span has imported OpenTelemetry: where nobody has, neither do we, and there is nothing to do. It is not
done by `opentelemetry-instrumentation-httpx` (looked at: 0.66b2), which records the query.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

    from clients.api import Reply


class Asking:
    """A request under way: the fields to send with it, and what was answered."""

    __slots__ = ("_span", "headers")

    def __init__(self, span: Span | None = None) -> None:
        self._span = span
        self.headers: dict[str, str] = {}

    def answered(self, reply: Reply) -> Reply:
        """Put the answer into the span; return it."""
        if self._span is not None:
            self._span.set_attribute("http.response.status_code", reply.status)
            self._span.set_attribute("network.protocol.version", reply.http_version)
            if reply.status >= 400:
                _failed(self._span, str(reply.status))
        return reply


@contextmanager
def asking(origin: str, path: str) -> Iterator[Asking]:
    """Be in a span of the kind CLIENT while a path of the server is asked for. Without a current span: nothing."""
    if "opentelemetry.trace" not in sys.modules:
        yield Asking()
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not trace.get_current_span().get_span_context().is_valid:
        yield Asking()
        return
    address = urlsplit(origin)
    attributes: dict[str, str | int] = {
        "http.request.method": "GET",
        "url.full": origin + path.partition("?")[0],  # the query may hold secrets
        "server.address": address.hostname or "",
        "server.port": address.port or 443,
    }
    tracer = trace.get_tracer("handclasp")
    with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes=attributes) as span:
        under_way = Asking(span)
        TraceContextTextMapPropagator().inject(under_way.headers)
        try:
            yield under_way
        except Exception as error:
            _failed(span, f"{type(error).__module__}.{type(error).__qualname__}")
            raise


def _failed(span: Span, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
