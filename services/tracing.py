"""Traces: a span for every request and WebSocket, within the trace that the caller began, and by whom it was asked.

The spans are made here and not by `opentelemetry-instrumentation-asgi` (looked at: 0.66b2): it records the query, which
may hold secrets; it names each span by its path; a field or a query of some stray bytes makes it raise, and the request
fails; it does not know WSGI applications in Hypercorn's wrapper.
"""

from __future__ import annotations

from traceback import TracebackException
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pki.shell import visible
from services.logs import printable
from services.transport.tasks import ClientDisconnectedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.trace import Span, Tracer

    from services.peer import Peer

_LONGEST = 1_024
"""Characters of an attribute: names, paths and messages are a stranger's to choose."""
_LONGEST_STACK = 16_384

_METHODS = frozenset(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"])
"""Others are `_OTHER`, as the semantic conventions have it: a span's name is not for the caller to choose."""


class Traces:
    """An ASGI application in front of another: the span is there while that runs, and the parent of all its spans."""

    def __init__(self, app: Callable[..., Awaitable[None]], tracer: Tracer, *, alone: bool) -> None:
        """`alone`: the application asked for no traces, so that a framework should not make the same span again."""
        self._app = app
        self._tracer = tracer
        self._alone = alone

    async def __call__(self, scope: Any, receive: Any, send: Any, *threads: Any) -> None:
        """`threads` is what Hypercorn's wrapper of WSGI asks for."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send, *threads)
            return
        attributes = _request(scope)
        if self._alone:
            # FastAPI makes a span of its own as soon as there is a provider, beside ours and with the query. This is
            # what its `telemetry={"exclude": ...}` does.
            scope["fastapi.telemetry"] = None
        with self._tracer.start_as_current_span(
            _name(attributes),
            # Trace context alone, whatever OTEL_PROPAGATORS says: baggage is a caller's word, and would travel on.
            context=_W3C.extract(scope["headers"], Context(), _FIELDS),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            answer = _Answer(span, scope, send)
            try:
                await self._app(scope, receive, answer.send, *threads)
            except (Exception, SystemExit) as error:
                answer.failed(error)
                raise
            finally:
                answer.end(attributes)


class _Answer:
    """What becomes of a request, as its span tells it."""

    __slots__ = ("_error", "_gone", "_scope", "_send", "_span", "_status")

    def __init__(self, span: Span, scope: dict[str, Any], send: Callable[[Any], Awaitable[None]]) -> None:
        self._span, self._scope, self._send = span, scope, send
        self._status: int | None = None
        self._error: str | None = None
        self._gone = False

    async def send(self, message: Any) -> None:
        try:
            await self._send(message)
        except ClientDisconnectedError:
            self._gone = True
            raise
        if self._status is None:
            self._status = self._status_of(message)

    def _status_of(self, message: Any) -> int | None:
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                return int(message["status"])
            case "websocket.accept":
                return 101 if self._scope["http_version"] == "1.1" else 200  # RFC 8441 section 5
            case "websocket.close":  # before it is accepted: what the transport makes of it
                return 403
        return None

    def failed(self, error: BaseException) -> None:
        """The application raised. Where it had sent to a client that is gone, that is why, and no error."""
        if self._gone:
            return
        # Not record_exception(): one surrogate in the message, and the exporter drops it.
        told = TracebackException.from_exception(error)
        self._error = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        self._span.add_event(
            "exception",
            {
                "exception.type": self._error,
                "exception.message": _bounded(str(told)),
                "exception.stacktrace": "".join(told.format())[-_LONGEST_STACK:].encode("utf-8", "replace").decode(),
            },
        )
        if self._status is None:
            self._status = 500  # what the transport answers in its place

    def end(self, attributes: dict[str, str | int]) -> None:
        """Say how it ended; the framework knows the route by now, where it has such a thing."""
        route = getattr(self._scope.get("route"), "path_format", None)  # FastAPI
        if isinstance(route, str):
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{_name(attributes)} {route}")
        if self._status is not None:
            self._span.set_attribute("http.response.status_code", self._status)
            if self._status >= 500:
                self._error = self._error or str(self._status)
        if self._error is not None:
            self._span.set_attribute("error.type", self._error)
            self._span.set_status(StatusCode.ERROR)


class _Fields(Getter[Any]):
    """Header fields of an ASGI scope, whatever bytes they hold."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        wanted = key.encode("ascii")
        found = [value.decode("latin-1") for name, value in carrier if name == wanted]
        if not found or (len(found) > 1 and key == "traceparent"):  # two parents are none (Trace Context section 3.2)
            return None
        return found

    def keys(self, carrier: Any) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_W3C = TraceContextTextMapPropagator()
_FIELDS = _Fields()


def _request(scope: dict[str, Any]) -> dict[str, str | int]:
    """What a span says of its request, under the names of the semantic conventions. Never the query."""
    method = "GET" if scope["type"] == "websocket" else scope["method"]
    attributes: dict[str, str | int] = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.scheme": scope["scheme"],
        "url.path": printable(scope["raw_path"][:_LONGEST])[:_LONGEST],
        "network.protocol.version": scope["http_version"],
    }
    if method not in _METHODS:
        attributes["http.request.method_original"] = _bounded(method)
    return attributes | _caller(scope["extensions"]["handclasp"]["peer"])


def _caller(peer: Peer) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "enduser.id": _bounded(peer.identity.name),
        "tls.client.subject": _bounded(peer.subject),
        "tls.client.hash.sha256": peer.identity.sha256.upper(),  # upper case, say the conventions
        "tls.protocol.name": "tls",
        "tls.protocol.version": peer.tls_version.removeprefix("TLSv"),
        "tls.cipher": peer.cipher,
    }
    if peer.address is not None:
        attributes["client.address"], attributes["client.port"] = peer.address
    return attributes


def _name(attributes: dict[str, str | int]) -> str:
    method = str(attributes["http.request.method"])
    return "HTTP" if method == "_OTHER" else method


def _bounded(text: str) -> str:
    """The text in one line, not too long, and fit for UTF-8."""
    return visible(text[:_LONGEST])[:_LONGEST]
