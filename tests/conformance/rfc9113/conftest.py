"""One real server for all sections; a connection for each test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.sound import stays_sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server
    from tests.support.wire import Wire


@pytest.fixture(scope="session")
def _server(start: Callable[..., Server]) -> Iterator[Server]:
    server = start(app="tests.faults._app:app")
    yield server
    with server.h2() as wire:
        assert wire.get().status == 200


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """The shared server: whatever a test sends, it runs on, and its log holds nothing unsound."""
    with stays_sound(_server):
        yield _server


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A connection whose preface is sent, with windows of 1 MiB."""
    with server.h2(stream_window=2**20, connection_window=2**20) as made:
        yield made


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> str:
    """A name under which the application counts what this test asks for."""
    return re.sub(r"\W+", "-", request.node.name)
