"""An authority, and servers of one's own, for tests of what others see of us."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pki.keys import KeyType
from pki.lifecycle import Lifecycle, Request
from pki.names import Names
from pki.profiles import LEAF_PROFILES
from pki.state import State
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def lifecycle(tmp_path_factory: pytest.TempPathFactory) -> Lifecycle:
    """An authority with the credentials `localhost` and `alice`."""
    made = Lifecycle(State(tmp_path_factory.mktemp("conformance") / "state"))
    now = datetime.now(UTC)
    made.init("Conformance CA", key=KeyType.P256, now=now)
    names = Names.parse("localhost", dns_names=["localhost"], ip_addresses=["127.0.0.1"])
    made.issue(Request(LEAF_PROFILES["server"], names), now=now)
    made.issue(Request(LEAF_PROFILES["client"], Names.parse("alice", emails=["alice@example.com"])), now=now)
    return made


@pytest.fixture(scope="session")
def credentials(lifecycle: Lifecycle) -> Path:
    """The folder of credential folders."""
    return lifecycle.state.folder / "credentials"


@pytest.fixture(scope="session")
def start(credentials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server: `start(*options, app=..., credential=..., VARIABLE=...)`. Its log must hold no traceback."""
    servers: list[Server] = []

    def starter(
        *options: str, app: str = "services.app:app", credential: Path | None = None, **environment: str
    ) -> Server:
        own = credential or credentials / "localhost"
        server = Server(tmp_path_factory.mktemp("server"), own, credentials / "alice", app, options, **environment)
        servers.append(server)
        return server

    yield starter
    for server in servers:
        server.stop()
    for server in servers:
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="session")
def greeter(start: Callable[..., Server]) -> Server:
    """The greeter, with the settings that it has by itself."""
    return start()
