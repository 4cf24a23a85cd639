"""Whatever name a ClientHello asks for (SNI), it is judged by the trust of this moment.

Swapping contexts in an SNI callback does not carry over verify flags: with a name asked for, who was refused is let in.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.issuer import Issuer, client_context
from tests.support.trust import Client, Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("names"), "--server-name", "localhost") as made:
        yield made


def answered(there: Trusting, folder: Path | None, name: str | None) -> str:
    """The first line that who presents this folder is answered, asking for this name; or the alert that refuses it."""
    trust = there.credential / "ca.crt"
    context = client_context(folder, trust=trust, alpn=("http/1.1",))
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", there.server.port), 5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                return tls.recv(65_536).partition(b"\r")[0].decode()
        except ssl.SSLError as error:
            return (error.reason or str(error)).lower()


@pytest.mark.parametrize("name", ["localhost", "other.example.com", None])
def test_whatever_name_is_asked_for(there: Trusting, name: str | None) -> None:
    """Nobody, a stranger and a revoked client are refused; on a server whose trust has changed, too."""
    good, revoked = there.client("good"), there.client("revoked")
    stranger: Client = there.client("stranger", issuer=Issuer("Foreign CA"))
    after = there.server.log_end()
    there.revoke(revoked)
    there.taken_up(after)
    assert answered(there, good.folder, name).startswith("HTTP/1.1 200")
    assert "certificate_revoked" in answered(there, revoked.folder, name)
    assert "unknown_ca" in answered(there, stranger.folder, name)
    assert "certificate_required" in answered(there, None, name)
