"""A collector of traces: OTLP over HTTP on a port of this machine, its spans as plain values."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Seen:
    """One span, as it arrived."""

    name: str
    kind: int
    trace: str
    span: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    service: dict[str, Any]
    raw: bytes

    SERVER = 2
    CLIENT = 3


class Collector:
    """Takes what is sent until `stop`."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told that sends its spans here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "NO_PROXY": "127.0.0.1",
        }

    def wait_for(self, count: int = 1, **wanted: Any) -> list[Seen]:
        """The spans with these attributes, once there are as many."""
        found: list[Seen] = []

        def enough() -> bool:
            found[:] = [span for span in self.spans if wanted.items() <= span.attributes.items()]
            return len(found) >= count

        eventually(enough, what=lambda: f"{count} spans with {wanted}; there are {self.spans}")
        return found

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.kind,
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    failed=span.status.code == 2,
                    attributes=_values(span.attributes),
                    events=[{"name": event.name, **_values(event.attributes)} for event in span.events],
                    service=_values(resource.resource.attributes),
                    raw=span.SerializeToString(),
                )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
