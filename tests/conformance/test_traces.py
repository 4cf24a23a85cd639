"""`--traces`: one trace from the caller's span through the server to the application's, and who called."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clients import http1, http2
from clients.errors import Unreachable
from tests.support.collector import Collector, Seen
from tests.support.issuer import SERVER, Issuer
from tests.support.server import ROOT, Server
from tests.support.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.wire import Reply

APP = "tests.conformance._traced_app:app"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


Serve = "Callable[..., Server]"


@pytest.fixture(scope="module")
def serve(credentials: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start a server that sends its spans to the collector."""
    servers: list[Server] = []

    def starter(
        *options: str, app: str = APP, own: Path | None = None, client: Path | None = None, **more: str
    ) -> Server:
        environment = {**collector.environment, **more}
        folder = tmp_path_factory.mktemp("server")
        own, client = own or credentials / "localhost", client or credentials / "alice"
        servers.append(Server(folder, own, client, app, options, **environment))
        return servers[-1]

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("--traces")


@pytest.fixture(scope="module")
def ours() -> Iterator[InMemorySpanExporter]:
    """The spans of this process, where the clients are."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


def ask(server: Server, over: str, path: str, traceparent: str | None = TRACEPARENT, *, method: str = "GET") -> Reply:
    """Ask by hand, with the field as it is."""
    if over == "h1":
        with server.h1() as line:
            return line.get(path, method, more="" if traceparent is None else f"traceparent: {traceparent}\r\n")
    with server.h2() as wire:
        return wire.get(path, method, more=[] if traceparent is None else [("traceparent", traceparent)])


@pytest.mark.parametrize("client", [http1, http2])
def test_one_trace_from_the_client_to_the_application(
    server: Server, collector: Collector, ours: InMemorySpanExporter, client: type[http1]
) -> None:
    """The caller's span, the client's, the server's, the application's: each the child of the one before."""
    url = f"https://localhost:{server.port}"
    with client.Client(url, server.client) as session:
        with trace.get_tracer("test").start_as_current_span("work") as work:
            assert session.get("/child?token=s3cret").text == "found"

        async def once_more() -> None:
            async with client.AsyncClient(url, server.client) as other:
                with trace.use_span(work):
                    await other.get("/child")

        asyncio.run(once_more())
    number = format(work.get_span_context().trace_id, "032x")
    asked = [span for span in ours.get_finished_spans() if span.kind is trace.SpanKind.CLIENT]
    asked = [span for span in asked if format(span.context.trace_id, "032x") == number]
    collector.wait_for(2, **{"network.protocol.version": "1.1" if client is http1 else "2", "url.path": "/child"})
    there = {span.span: span for span in collector.spans if span.trace == number}
    by_parent = {span.parent: span for span in there.values()}
    assert len(asked) == 2
    for span in asked:
        assert span.name == "GET"
        assert span.parent.span_id == work.get_span_context().span_id
        assert dict(span.attributes) == {
            "http.request.method": "GET",
            "url.full": f"{url}/child",
            "server.address": "localhost",
            "server.port": server.port,
            "http.response.status_code": 200,
            "network.protocol.version": "1.1" if client is http1 else "2",
        }
        served = by_parent[format(span.context.span_id, "016x")]
        assert (served.kind, served.name) == (Seen.SERVER, "GET")
        assert by_parent[served.span].attributes == {"shop.item": "42"}
    assert len(there) == 4


def test_a_client_says_nothing_without_a_span(server: Server, collector: Collector, ours: InMemorySpanExporter) -> None:
    """No span of its own, no field: the server's is the first of its trace."""
    ours.clear()
    with http2.Client(f"https://localhost:{server.port}", server.client) as session:
        session.get("/alone")
    assert collector.wait_for(**{"url.path": "/alone"})[0].parent == ""
    assert not ours.get_finished_spans()


def test_a_client_s_span_says_what_went_wrong(server: Server, ours: InMemorySpanExporter) -> None:
    """An answer of 4xx and 5xx, and none at all, are errors of the client's span."""
    ours.clear()
    with trace.get_tracer("test").start_as_current_span("work"):
        with http2.Client(f"https://localhost:{server.port}", server.client) as session:
            session.get("/busy")
        with http2.Client("https://localhost:1", server.client) as session, pytest.raises(Unreachable):
            session.get("/")
    busy, nobody = ours.get_finished_spans()[:2]
    assert busy.attributes["error.type"] == "503"
    assert nobody.attributes["error.type"] == "clients.errors.Unreachable"
    assert not busy.status.is_ok
    assert not nobody.status.is_ok


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_a_span_says_who_asked_for_what(server: Server, collector: Collector, over: str) -> None:
    """The verified identity and the connection's facts, under the names of the conventions; and nothing else."""
    assert ask(server, over, f"/what-{over}?token=s3cret").status == 200
    (span,) = collector.wait_for(**{"url.path": f"/what-{over}"})
    leaf = x509.load_pem_x509_certificate((server.client / "tls.crt").read_bytes())
    assert (span.trace, span.parent, span.kind, span.failed) == (TRACE, PARENT, Seen.SERVER, False)
    assert isinstance(span.attributes.pop("client.port"), int)
    assert span.attributes == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "url.path": f"/what-{over}",
        "network.protocol.version": {"h1": "1.1", "h2": "2"}[over],
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
        "enduser.id": "alice@example.com",
        "tls.client.subject": "CN=alice",
        "tls.client.hash.sha256": leaf.fingerprint(leaf.signature_hash_algorithm).hex().upper(),
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
        "tls.cipher": "TLS_AES_256_GCM_SHA384",
    }
    assert span.service["service.name"] == "handclasp"
    assert b"s3cret" not in span.raw


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_a_websocket_is_one_span(server: Server, collector: Collector, over: str) -> None:
    """From its handshake to its end, within the caller's trace."""
    fields = (("traceparent", TRACEPARENT),)
    with WebSocket(server, over, f"/ws-{over}?token=s3cret", more=fields).accepted() as socket:
        socket.send("echo")
        assert socket.receive() == "echo"
    (span,) = collector.wait_for(**{"url.path": f"/ws-{over}"})
    assert (span.trace, span.parent, span.failed) == (TRACE, PARENT, False)
    assert span.attributes["http.response.status_code"] == {"h1": 101, "h2": 200}[over]
    assert span.attributes["enduser.id"] == "alice@example.com"
    assert b"s3cret" not in span.raw


def test_a_websocket_that_is_refused(server: Server, collector: Collector) -> None:
    for over in ("h1", "h2"):
        with WebSocket(server, over, "/no") as socket:
            assert socket.answer().status == 403
    for span in collector.wait_for(2, **{"url.path": "/no"}):
        assert span.attributes["http.response.status_code"] == 403


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_an_exception_is_recorded(server: Server, collector: Collector, over: str) -> None:
    """With its type, and as much of its message and stack as fits; what is no text is escaped."""
    version = {"h1": "1.1", "h2": "2"}[over]
    assert ask(server, over, "/raises").status == 500
    (span,) = collector.wait_for(**{"url.path": "/raises", "network.protocol.version": version})
    assert span.failed
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (500, "ValueError")
    (event,) = span.events
    assert (event["name"], event["exception.type"]) == ("exception", "ValueError")
    assert event["exception.message"].startswith(r"no \udcff\x1b[2J such thing xxx")
    assert len(event["exception.message"]) == 1_024
    assert 1_000 < len(event["exception.stacktrace"]) <= 16_384


def test_an_answer_of_5xx_is_an_error(server: Server, collector: Collector) -> None:
    assert ask(server, "h2", "/busy-by-hand", None).status == 503
    (span,) = collector.wait_for(**{"url.path": "/busy-by-hand"})
    assert (span.failed, span.attributes["error.type"], span.events) == (True, "503", [])


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_a_hostile_traceparent_begins_a_new_trace(server: Server, collector: Collector, over: str) -> None:
    """Garbage, kilobytes, zeros, two of them: the request is answered, and belongs to nobody's trace."""
    hostile = ["garbage", "00-" + "f" * 10_000, "\u00ff" * 100, f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"]
    hostile += [TRACEPARENT.upper(), TRACEPARENT + "-" * 10_000, TRACEPARENT + " " * 10_000 + "x", "%s%n{0}"]
    path = f"/hostile-{over}"
    for field in hostile:
        assert ask(server, over, path, field.encode().decode("latin-1")).status == 200
    if over == "h2":
        with server.h2() as wire:
            assert wire.get(path, more=[("traceparent", TRACEPARENT)] * 2).status == 200
    else:
        assert ask(server, over, path, f"{TRACEPARENT}\r\ntraceparent: {TRACEPARENT}").status == 200
    found = collector.wait_for(len(hostile) + 1, **{"url.path": path})
    assert {span.parent for span in found} == {""}
    assert len({span.trace for span in found}) == len(hostile) + 1


def test_a_hostile_tracestate_is_left_out(server: Server, collector: Collector) -> None:
    """The trace goes on without it, and the log stays in its lines."""
    for number, state in enumerate(["=,=" * 100, "a=\x80\xff", "a=1," * 500, "x" * 8_000]):
        with server.h1() as line:
            fields = f"traceparent: {TRACEPARENT}\r\ntracestate: ".encode() + state.encode("latin-1") + b"\r\n"
            line.send_bytes(b"GET /state-%d HTTP/1.1\r\nhost: localhost\r\n" % number + fields + b"\r\n")
            assert line.reply().status == 200
        assert collector.wait_for(**{"url.path": f"/state-{number}"})[0].trace == TRACE


def test_baggage_is_not_taken_along(server: Server, collector: Collector) -> None:
    """Nor is any other field: what a caller says of itself is in no span."""
    with server.h2() as wire:
        fields = [("traceparent", TRACEPARENT), ("baggage", "user=mallory"), ("user-agent", "mallory/1.0")]
        assert wire.get("/baggage", more=fields).status == 200
    assert b"mallory" not in collector.wait_for(**{"url.path": "/baggage"})[0].raw


def test_a_method_of_the_caller_s_own_names_no_span(server: Server, collector: Collector) -> None:
    assert ask(server, "h2", "/method", method="BREW" * 500).status == 200
    (span,) = collector.wait_for(**{"url.path": "/method"})
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert len(span.attributes["http.request.method_original"]) == 1_024


def test_hostile_names_are_harmless(serve: Serve, collector: Collector, tmp_path: Path) -> None:
    """A name of kilobytes is cut, a path that would move a cursor is escaped, and what is asked for is answered."""
    issuer = Issuer()
    own = issuer.issue("localhost", san=(x509.DNSName("localhost"),), purposes=(SERVER,)).save(tmp_path / "localhost")
    name = "https://example.com/%00%1b[2J';--&$(x)%0a" + "a" * 5_000
    client = issuer.issue("eve, CN=root <b>\u00e9", san=(x509.UniformResourceIdentifier(name),)).save(tmp_path / "eve")
    server = serve("--traces", own=own, client=client)
    assert ask(server, "h2", "/%1b%00%ff" + "b" * 3_000).status == 200
    (span,) = collector.wait_for(**{"enduser.id": name[:1_024]})
    assert span.attributes["url.path"] == ("/%1b%00%ff" + "b" * 3_000)[:1_024]
    assert span.attributes["tls.client.subject"] == "CN=eve\\, CN=root \\<b\\>\u00e9"


def test_what_the_policy_refuses_is_traced(serve: Serve, collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[[rule]]\npath = "/*"\nallow = ["email:bob@example.com"]\n')
    server = serve("--traces", "--policy", str(tmp_path / "policy.toml"))
    assert ask(server, "h2", "/refused").status == 403
    (span,) = collector.wait_for(**{"url.path": "/refused"})
    assert (span.attributes["http.response.status_code"], span.failed) == (403, False)


def test_fastapi_gets_one_span_that_is_named_by_its_route(serve: Serve, collector: Collector) -> None:
    """Its own would be a second one, with the query."""
    server = serve("--traces", app="tests.conformance._apps:fastapi_app", OTEL_SERVICE_NAME="shop")
    assert ask(server, "h2", "/items/17?token=s3cret").body == b"17"
    (span,) = collector.wait_for(**{"url.path": "/items/17"})
    assert (span.name, span.attributes["http.route"]) == ("GET /items/{number}", "/items/{number}")
    assert span.service["service.name"] == "shop"
    server.signal()
    assert server.exit_code() == 0
    assert [seen for seen in collector.spans if seen.service["service.name"] == "shop"] == [span]


def test_wsgi_applications_have_spans_too(serve: Serve, collector: Collector) -> None:
    server = serve("--traces", app="tests.conformance._apps:flask_app", OTEL_SERVICE_NAME="flask")
    assert ask(server, "h1", "/").status == 200
    (span,) = collector.wait_for(**{"url.path": "/"})
    assert span.attributes["http.response.status_code"] == 200


def test_an_application_s_own_setup_stays(serve: Serve, collector: Collector) -> None:
    server = serve("--traces", app="tests.conformance._self_traced_app:app")
    assert ask(server, "h2", "/its-own").status == 200
    assert collector.wait_for(**{"url.path": "/its-own"})[0].service["service.name"] == "its own"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_last_spans_are_sent_before_the_end(serve: Serve, collector: Collector, workers: str) -> None:
    """From every worker, whatever the pause between two exports."""
    server = serve("--traces", "--workers", workers, OTEL_BSP_SCHEDULE_DELAY="60000")
    for _ in range(10):
        assert ask(server, "h2", f"/last-{workers}").status == 200
    server.signal()
    assert server.exit_code() == 0
    assert len(collector.wait_for(10, **{"url.path": f"/last-{workers}"})) == 10


def test_a_collector_that_is_away_holds_up_nothing(serve: Serve) -> None:
    """Neither requests nor the end; the log says it in one line."""
    server = serve("--traces", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    for _ in range(10):
        started = time.monotonic()
        assert ask(server, "h2", "/").status == 200
        assert time.monotonic() - started < 5
    server.logged("[warning  ] ", timeout=30)
    server.signal()
    assert server.exit_code(timeout=9) == 0
    assert "Traceback" not in server.log()


def test_the_console_shows_spans(credentials: Path) -> None:
    """OTEL_TRACES_EXPORTER=console: JSON on stdout."""
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "console"}
    command = [sys.executable, "-m", "services", APP, "--traces", "--credential", credentials / "localhost"]
    command += ["--bind", "localhost:0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split("https://localhost:")[1].split()[0])
        with http2.Client(f"https://localhost:{port}", credentials / "alice") as session:
            session.get("/shown")
        process.terminate()
        shown = json.loads(process.stdout.read())
    assert shown["attributes"]["enduser.id"] == "alice@example.com"


def test_off_means_that_nothing_is_imported(serve: Serve) -> None:
    """Not a module of OpenTelemetry is in the server, nor in a client that has no spans."""
    server = serve()
    assert json.loads(ask(server, "h2", "/modules").body) == []
    program = (
        "import sys; from clients import http1, http2\n"
        f"with http2.Client('https://localhost:{server.port}', {str(server.client)!r}) as client: client.get('/')\n"
        "assert not [name for name in sys.modules if 'telemetry' in name]"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=True)


def refused(credentials: Path, **environment: str) -> str:
    """The one line that a server with traces ends with, at once."""
    command = [sys.executable, "-m", "services", "--traces", "--credential", credentials / "localhost"]
    done = subprocess.run(
        [*command, "--bind", "localhost:0"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_without_the_extra_one_line_says_how_to_get_it(credentials: Path, tmp_path: Path, missing: str) -> None:
    """All of it is missing, or it is there in part, as another package brought it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r} or name.startswith({missing + '.'!r}):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    line = refused(credentials, PYTHONPATH=str(tmp_path))
    assert line == "handclasp-serve: error: traces: OpenTelemetry is not installed: pip install 'handclasp[otel]'"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "no exporter 'zipkin' is installed"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "no exporter 'otlp_proto_grpc' is installed"),
        (
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
            "nobody",
            "the exporter 'otlp_proto_http' cannot be set up",
        ),
    ],
)
def test_an_exporter_that_cannot_be_had_is_said_at_once(
    credentials: Path, variable: str, value: str, words: str
) -> None:
    assert words in refused(credentials, **{variable: value})
