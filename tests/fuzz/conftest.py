"""One server to be fuzzed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.support.issuer import SERVER, Issuer
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


CALM = {
    "HANDCLASP_ACCESS_LOG": "false",
    # One caller has all the conversations: what it was told to calm down for in one must not end the next.
    "HANDCLASP_RESETS_PER_SECOND": "100000",
    "HANDCLASP_CONTROL_FRAMES_PER_SECOND": "100000",
}


@pytest.fixture(scope="session")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    issuer = Issuer()
    credential = issuer.issue("localhost", san=(x509.DNSName("localhost"),), purposes=(SERVER,)).save(folder / "server")
    client = issuer.issue().save(folder / "client")
    server = Server(folder, credential, client, "tests.fuzz._app:app", **CALM)
    assert server.port
    yield server
    server.stop()
