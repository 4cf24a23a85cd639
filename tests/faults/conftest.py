"""Servers for faults: one that all tests share and that must stay sound, and as many more as a test breaks."""

from __future__ import annotations

import itertools
import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.support.issuer import SERVER, Issuer
from tests.support.server import Server
from tests.support.trust import Client
from tests.support.wire import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNSOUND = re.compile(
    r"Traceback|never retrieved|never awaited|Fatal error|Exception in|Unhandled|was destroyed|Warning:"
)
"""What the log of a server does not hold, whatever clients do."""

UNSOUND_OF_OURS = re.compile(r"Fatal error|Exception in callback|never retrieved|connection failed|WebSocket failed")
"""What it does not hold, whatever applications do."""


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="session")
def credentials(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the credentials `localhost` and `alice`."""
    folder = tmp_path_factory.mktemp("credentials")
    issuer.issue("localhost", san=(x509.DNSName("localhost"),), purposes=(SERVER,)).save(folder / "localhost")
    issuer.issue().save(folder / "alice")
    return folder


@pytest.fixture(scope="session")
def start(credentials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server of one's own: `start(*options, app=..., HANDCLASP_...=...)`."""
    servers: list[Server] = []

    def starter(*options: str, app: str = "tests.faults._app:app", **environment: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        server = Server(folder, credentials / "localhost", credentials / "alice", app, options, **environment)
        servers.append(server)
        return server

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def _spare(start: Callable[..., Server]) -> list[Server]:
    return [start()]


@pytest.fixture
def own(start: Callable[..., Server], _spare: list[Server]) -> Server:
    """A server to stop or to break. The next one starts meanwhile."""
    _spare.append(start())
    server = _spare.pop(0)
    assert server.port, "is ready"
    return server


class Shared:
    """A server for many tests. One that a test has broken is replaced, so that the others' results stand."""

    def __init__(self, start: Callable[[], Server], unsound: re.Pattern[str]) -> None:
        self._start, self._unsound = start, unsound
        self._server: Server | None = None

    @contextmanager
    def lend(self) -> Iterator[Server]:
        """Lend the server for a test. Behind it, it still serves, and its log holds nothing unsound."""
        server = self._server = self._server or self._start()
        assert server.port
        before = server.log_end()
        yield server
        try:
            with server.h2() as wire:
                assert wire.get().status == 200
        except (OSError, Ended) as failure:
            server.stop()
            self._server = None
            pytest.fail(f"the server does not serve the next client: {failure!r}")
        found = self._unsound.search(server.log(before))
        assert found is None, f"in the log:\n{server.log(before)}"


@pytest.fixture(scope="session")
def _shared(start: Callable[..., Server]) -> Shared:
    return Shared(lambda: start(HANDCLASP_HANDSHAKE_TIMEOUT="3"), UNSOUND)


@pytest.fixture
def server(_shared: Shared) -> Iterator[Server]:
    """The shared server: whatever its clients do, it stays sound."""
    with _shared.lend() as lent:
        yield lent


@pytest.fixture(scope="session")
def _rude(start: Callable[..., Server]) -> Shared:
    return Shared(start, UNSOUND_OF_OURS)


@pytest.fixture
def rude_server(_rude: Shared) -> Iterator[Server]:
    """One whose application raises, which the log may say: nothing of ours may fail by it."""
    with _rude.lend() as lent:
        yield lent


@pytest.fixture
def bystander(server: Server) -> Iterator[list[float]]:
    """Another client, on a connection of its own, asks all the while. Every answer must come, and soon."""
    times: list[float] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            with server.h2() as wire:
                while not (stop.is_set() and times):
                    started = time.monotonic()
                    assert wire.get("/").status == 200
                    times.append(time.monotonic() - started)
                    time.sleep(0.005)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=ask)
    thread.start()
    yield times
    stop.set()
    thread.join()
    assert not failures, f"the bystander failed: {failures}"
    assert max(times) < 5.0, f"the bystander waited {max(times):.2f} s"


_tags = itertools.count(1)


@pytest.fixture
def mallory(server: Server, issuer: Issuer, tmp_path: Path) -> Client:
    """Another identity for each test: who has been told to calm down is borne with less for a while."""
    name = x509.RFC822Name(f"mallory-{next(_tags)}@example.com")
    issued = issuer.issue("mallory", san=(name,))
    return Client(issued.save(tmp_path / "mallory"), issued, server.port)


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> str:
    """A name under which the application counts what this test asks for."""
    return re.sub(r"\W+", "-", f"{request.node.name}-{next(_tags)}")
