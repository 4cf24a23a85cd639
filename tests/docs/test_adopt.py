"""The applications of docs/adopt do what their page says, and believe nothing but the handshake."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from services.loading import wrap_app
from services.transport.tasks import call_soon, in_thread
from tests.support.issuer import SERVER, Issuer, client_context
from tests.support.server import ROOT, Server
from tests.support.wire import Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Iterator

ADOPT = ROOT / "docs" / "adopt"
PAGE = (ADOPT / "README.md").read_text()
APPS = re.findall(r"`uv run handclasp-serve (docs\.adopt\.\w+:app)`", PAGE)
"""As the page has them served."""

PEOPLE = {
    "alice": x509.RFC822Name("alice@example.com"),
    "mallory": x509.RFC822Name("mallory@ops.example.com.example.net"),
    "olga": x509.RFC822Name("olga@ops.example.com"),
    "deploy": x509.UniformResourceIdentifier("spiffe://example.com/ops/deploy"),
}
OPERATORS = ("olga", "deploy")

CLAIMS = [
    *(
        (field, PEOPLE[operator].value)
        for field in ("x-forwarded-user", "x-forwarded-email", "x-remote-user", "remote-user", "remote_user")
        for operator in OPERATORS
    ),
    ("x-forwarded-client-cert", "By=spiffe://example.com/web;URI=spiffe://example.com/ops/deploy"),
    ("x-ssl-client-verify", "SUCCESS"),
    ("x-ssl-client-s-dn", "CN=olga,emailAddress=olga@ops.example.com"),
    ("authorization", "Basic b2xnYUBvcHMuZXhhbXBsZS5jb206"),
]
"""What a proxy would say of a caller: here the caller says it of themselves."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `state/credentials`, as the page's commands leave it."""
    folder = tmp_path_factory.mktemp("adopt")
    credentials, issuer = folder / "state" / "credentials", Issuer()
    issuer.issue("localhost", san=(x509.DNSName("localhost"),), purposes=(SERVER,)).save(credentials / "localhost")
    for name, san in PEOPLE.items():
        issuer.issue(name, san=(san,)).save(credentials / name)
    return folder


@pytest.fixture(scope="module", params=APPS)
def server(state: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`handclasp-serve` with one application after the other. No request makes any of them fail."""
    credentials = state / "state" / "credentials"
    server = Server(tmp_path_factory.mktemp("server"), credentials / "localhost", credentials / "alice", request.param)
    assert server.port
    yield server
    server.stop()
    assert not re.search(r"Traceback|Error in|Warning|never retrieved", server.log()), server.log()


def connect(server: Server, name: str, over: str) -> Line1 | Wire:
    """A connection of this caller's own."""
    folder = server.client.parent / name
    kind, alpn = (Line1, "http/1.1") if over == "h1" else (Wire, "h2")
    return kind(server.port, client_context(folder, trust=folder / "ca.crt", alpn=(alpn,)))


def ask(line: Line1 | Wire, path: str, *claims: tuple[str, str]) -> tuple[int | None, Any]:
    """The status of the answer, and what it says where it is a 200."""
    more = claims if isinstance(line, Wire) else "".join(f"{name}: {value}\r\n" for name, value in claims)
    reply = line.get(path, more=more)
    assert reply.whole
    return reply.status, json.loads(reply.body) if reply.status == 200 else None


def greeting(name: str) -> tuple[int, dict[str, str]]:
    return 200, {"greeting": f"Hello {PEOPLE[name].value}!"}


def test_each_application_is_on_the_page_and_short() -> None:
    """No file that the page leaves out, and none of 40 lines or more."""
    files = {path.stem: len(path.read_text().splitlines()) for path in ADOPT.glob("*_app.py")}
    assert sorted(APPS) == sorted(f"docs.adopt.{name}:app" for name in files)
    assert len(files) == 5
    assert max(files.values()) < 40, files


@pytest.mark.parametrize("over", ["h1", "h2"])
@pytest.mark.parametrize("name", PEOPLE)
def test_everybody_is_greeted_and_operators_are_let_in(server: Server, name: str, over: str) -> None:
    """By an email and by a URI; a name that merely begins like an operator's is none. The connection goes on."""
    with connect(server, name, over) as line:
        for _ in range(2):
            assert ask(line, "/") == greeting(name)
            operator = (200, {"operator": PEOPLE[name].value})
            assert ask(line, "/admin") == (operator if name in OPERATORS else (403, None))
        assert ask(line, "/nothing") == (404, None)


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_headers_change_nothing(server: Server, over: str) -> None:
    """Whatever they say of the caller, one by one and all at once, to the one who may and to the one who may not."""
    with connect(server, "alice", over) as alice, connect(server, "deploy", over) as deploy:
        for claims in (*((claim,) for claim in CLAIMS), CLAIMS):
            assert ask(alice, "/", *claims) == greeting("alice")
            assert ask(alice, "/admin", *claims) == (403, None)
            assert ask(deploy, "/admin", *claims) == (200, {"operator": PEOPLE["deploy"].value})


def test_callers_are_not_mixed_up(server: Server) -> None:
    """Everybody at once, over both protocols: each answer is about who asked, in whatever thread it was made."""

    def go(name: str, over: str) -> None:
        with connect(server, name, over) as line:
            for _ in range(25):
                assert ask(line, "/") == greeting(name)
                assert ask(line, "/admin")[0] == (200 if name in OPERATORS else 403)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(go, name, over) for name in PEOPLE for over in ("h1", "h2")]:
            done.result()


EXTENSIONS = {
    "none": {},
    "null": {"extensions": None},
    "empty": {"extensions": {}},
    "another-server-s": {"extensions": {"tls": {"client_cert_name": "CN=olga", "client_cert_error": None}}},
    "half-of-ours": {"extensions": {"handclasp": {}}},
}


@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
@pytest.mark.parametrize("app", APPS)
def test_under_another_server_nobody_gets_in(
    app: str, extensions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was verified: no answer but 403, whatever the headers say, and no page of the framework's own."""
    monkeypatch.syspath_prepend(ADOPT)  # in this process `docs` is the package of the tests
    called = import_module(app.removeprefix("docs.adopt.").removesuffix(":app")).app
    for path in ("/", "/admin"):
        assert status_without_peer(called, path, extensions) == 403
        assert status_without_peer(called, path, extensions, *CLAIMS) == 403
    for path in ("/docs", "/openapi.json", "/static/x", "/nothing"):
        assert status_without_peer(called, path, extensions) in (403, 404)


def status_without_peer(app: Any, path: str, more: dict[str, Any], *claims: tuple[str, str]) -> int:
    """Call the application, ASGI or WSGI, as a server does that knows nothing of peers."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in claims)],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 443),
        **more,
    }
    sent: list[dict[str, Any]] = []

    async def call() -> None:
        loop, events = asyncio.get_running_loop(), asyncio.Queue()
        events.put_nowait({"type": "http.request", "body": b"", "more_body": False})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                events.put_nowait({"type": "http.disconnect"})  # as a server says when all is said: Quart waits for it

        await wrap_app(app)(scope, events.get, send, partial(in_thread, loop), partial(call_soon, loop))

    contextvars.Context().run(asyncio.run, call())  # where no other test has left a peer
    return sent[0]["status"]


def test_the_page_s_commands(state: Path, tmp_path: Path) -> None:
    """They print what the page says, and end as it says."""
    credentials = state / "state" / "credentials"
    server = Server(tmp_path, credentials / "localhost", credentials / "alice", APPS[0])
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HANDCLASP_URL": f"https://localhost:{server.port}",
    }
    try:
        block = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)[0]
        for command, printed in re.findall(r"^\$ uv run (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=state,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.stdout, done.returncode) == (printed, int("# exit 1" in command)), command
    finally:
        server.stop()
