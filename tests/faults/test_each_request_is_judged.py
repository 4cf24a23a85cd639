"""Each request and each message of a WebSocket is judged by the trust of its moment, not by that of the handshake.

Connections are judged when trust changes as well, which hides this one: the servers here do not do that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.server import ROOT
from tests.support.trust import Client, Trusting, trusting
from tests.support.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_ALL_AT_ONCE = """
import services.transport.listener as listener

async def judge_all(self):
    pass

listener.Listener.judge_all = judge_all
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("each")
    (folder / "path").mkdir()
    (folder / "path/sitecustomize.py").write_text(NOT_ALL_AT_ONCE)
    with trusting(folder, PYTHONPATH=f"{folder / 'path'}:{ROOT}") as made:
        yield made


@pytest.fixture
def mallory(there: Trusting) -> Client:
    return there.client("mallory")


def revoked(there: Trusting, client: Client) -> None:
    after = there.server.log_end()
    there.revoke(client)
    there.taken_up(after)


def test_requests(there: Trusting, mallory: Client) -> None:
    """The next one is answered 401, and the connection ends; the application does not hear of it."""
    with mallory.h1() as line, mallory.h2() as wire:
        assert line.get("/stats?tag=each").status == wire.get().status == 200
        revoked(there, mallory)
        with there.client("bob").h2() as other:
            assert other.get().status == 200
        line.send_bytes(b"GET /hold?tag=each HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert line.reply().status == 401
        assert line.ending()
        assert wire.get("/hold?tag=each").status == 401
        assert wire.ending()
    there.audited("connection.cut", identity="mallory@example.com", reason="its certificate is revoked")
    assert there.server.stats("each").get("seen", 0) == 0


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_messages(there: Trusting, mallory: Client, over: str) -> None:
    """The next one is not echoed: close 1008."""
    with WebSocket(mallory, over, "/ws-echo") as websocket:  # type: ignore[arg-type]
        websocket.accepted().send("hello")
        assert websocket.receive() == "hello"
        revoked(there, mallory)
        websocket.send("still here?")
        assert websocket.receive() == 1008


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_new_websockets(there: Trusting, mallory: Client, over: str) -> None:
    """One that is asked for on a connection of before is not opened."""
    with mallory.h2() if over == "h2" else mallory.h1() as line:
        assert line.get().status == 200
        revoked(there, mallory)
        if over == "h2":
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws-echo")]
            asked = line.fields([*head, (":authority", "localhost"), ("sec-websocket-version", "13")], end=False)
            line.send(asked)
            assert line.reply(asked.stream_id).status == 401
        else:
            upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            line.send_bytes(
                f"GET /ws-echo HTTP/1.1\r\nhost: localhost\r\n{upgrade}sec-websocket-key: {'A' * 22}==\r\n\r\n".encode()
            )
            assert line.reply().status == 401
