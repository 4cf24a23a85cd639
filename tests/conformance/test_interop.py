"""Go and Node, as clients of our server and as servers of our clients: the same certificates, the same name."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clients import http1, http2
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)  # Go compiles its own library, too
INTEROP = Path(__file__).parent / "interop"
GREETING = "Hello alice@example.com!"


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The Go programs, built from the standard library alone."""
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(folder / "cache"), "GOPATH": str(folder)}
    for name in ("client", "server"):
        command = [require("go"), "build", "-o", str(folder / name), str(INTEROP / f"{name}.go")]
        subprocess.run(command, check=True, env=environment, timeout=500)
    return {name: [str(folder / name)] for name in ("client", "server")}


@pytest.fixture(scope="session")
def node() -> dict[str, list[str]]:
    return {name: [require("node"), str(INTEROP / f"{name}.mjs")] for name in ("client", "server")}


@pytest.fixture(params=["go", "node"])
def programs(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    return request.getfixturevalue(request.param)


def target(programs: dict[str, list[str]], server: Server) -> str:
    """Node is told a port, Go a URL."""
    return str(server.port) if programs["client"][-1].endswith(".mjs") else f"https://localhost:{server.port}/"


def test_their_client_is_greeted(programs: dict[str, list[str]], greeter: Server) -> None:
    """Over both HTTP versions, by the email that both sides read in the certificate."""
    command = [*programs["client"], str(greeter.client), target(programs, greeter)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"HTTP/1.1 {GREETING}"
    assert second in (f"HTTP/2.0 {GREETING}", f"HTTP/2 {GREETING}")


def test_their_client_without_a_certificate_is_told(programs: dict[str, list[str]], greeter: Server) -> None:
    """The alert reaches it, and its own words name the certificate."""
    command = [*programs["client"], str(greeter.client), target(programs, greeter), "nocert"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "certificate" in done.stderr


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_their_server_greets_our_clients(programs: dict[str, list[str]], credentials: Path) -> None:
    with serving([*programs["server"], str(credentials / "localhost")]) as port:
        for module, version in ((http1, "1.1"), (http2, "2")):
            with module.Client(f"https://localhost:{port}", credentials / "alice") as client:
                reply = client.get("/")
                assert (reply.http_version, reply.text) == (version, GREETING)
