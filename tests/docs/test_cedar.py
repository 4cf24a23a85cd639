"""The example of an engine of one's own, Cedar, asked by a server that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.support.trust import Client, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.trust import Trusting


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("cedar")
    with trusting(folder, "--authorizer", "docs.adopt.cedar_engine:may", app="services.app:app") as there:
        yield there


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("alice@home", "GET", "/", 200),
        ("alice@home", "POST", "/", 403),
        ("alice@home", "GET", "/admin", 403),
        ("alice@home", "GET", "/%61dmin", 403),
        ("alice@home", "GET", "/nobody%22%5C%00%E2%80%AE%F0%9F%98%80", 404),
        ("olga@ops", "POST", "/", 405),
        ("olga@ops", "GET", "/admin/users", 404),
    ],
)
def test_cedar_decides(there: Trusting, tmp_path: Path, who: str, method: str, path: str, status: int) -> None:
    """403 is Cedar's; 404 and 405 are the application's, behind it."""
    issued = there.issuer.issue(who, san=(x509.RFC822Name(f"{who}.example.com"),))
    client = Client(issued.save(tmp_path / "client"), issued, there.server.port)
    with client.h2() as wire:
        assert wire.get(path, method=method).status == status
    with client.h1() as line:
        assert line.get(path, method).status == status
