"""Credentials for a server and a caller, as another authority's tool would make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.issuer import SERVER, Issuer, client_context
from tests.support.trust import LOCALHOST

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the credentials `localhost` and `alice`."""
    issuer, folder = Issuer(), tmp_path_factory.mktemp("credentials")
    issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,)).save(folder / "localhost")
    issuer.issue().save(folder / "alice")
    return folder


@pytest.fixture(scope="session")
def alice(credentials: Path) -> ssl.SSLContext:
    """Her context, for HTTP/1.1."""
    return client_context(credentials / "alice", trust=credentials / "alice" / "ca.crt", alpn=("http/1.1",))
