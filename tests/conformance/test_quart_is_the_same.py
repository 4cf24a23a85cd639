"""Quart with the lean connection class that `handclasp-serve` gives it answers as Quart with its own."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING

import pytest

from services.loading import load_app
from services.quart_connection import HTTPConnection
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Server

APP = "tests.conformance._quart_app"
PATHS = ["/plain?q=1", "/cookies", "/empty", "/raises", "/aborts", "/stream", "/missing", "/slow-stream?timeout=1"]


@pytest.fixture(scope="module")
def lean(start: Callable[..., Server]) -> Server:
    return start(app=f"{APP}:lean")


@pytest.fixture(scope="module")
def own(start: Callable[..., Server]) -> Server:
    return start(app=f"{APP}:own")


def ask(server: Server, over: str, path: str, *more: tuple[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields but for the date, and the body."""
    fields = (("x-one", "1"), *more)
    if over == "h1":
        with server.h1() as line:
            reply = line.get(path, more="".join(f"{name}: {value}\r\n" for name, value in fields))
    else:
        with server.h2() as wire:
            reply = wire.get(path, more=fields)
    return reply.status, told(reply.headers), bytes(reply.body)


def told(headers: dict[str, str]) -> dict[str, str]:
    """Without what differs from one request to the next, and what frames a body."""
    return {name: value for name, value in headers.items() if name not in ("date", "transfer-encoding")}


@pytest.mark.parametrize("over", ["h1", "h2"])
@pytest.mark.parametrize("path", PATHS)
def test_every_answer(lean: Server, own: Server, over: str, path: str) -> None:
    """Status, fields and body: whole, streamed, empty, an error's, one whose time is up."""
    ours, quarts = ask(lean, over, path), ask(own, over, path)
    if path.startswith("/slow"):  # how many pieces fit into its time is nobody's promise
        assert ours[:2] == quarts[:2]
        assert set(ours[2]) == set(quarts[2])
    else:
        assert ours == quarts


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_a_part_of_a_body(lean: Server, own: Server, over: str) -> None:
    """A range of it."""
    answers = [ask(server, over, "/range", ("range", "bytes=2-4")) for server in (lean, own)]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][2]) == (206, b"234")


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_what_was_asked(lean: Server, own: Server, over: str) -> None:
    """Fields in their order, twice and in odd letters, the query, a path with escapes."""
    more = (("x-two", "1"), ("x-two", "ä\xff"), ("cookie", "a=1; b=2"))
    answers = [ask(server, over, "/fields?q=%C3%A4&q=2", *more) for server in (lean, own)]
    told = [json.loads(body) for _, _, body in answers]
    for facts in told:  # the port differs
        facts["all"] = [field for field in facts["all"] if field[0] != "Host"]
    assert told[0] == told[1]
    assert told[0]["one"][0] == "1"


@pytest.mark.parametrize("which", ["lean", "own"])
def test_a_body_is_read(request: pytest.FixtureRequest, which: str) -> None:
    """Also one that comes late: then it is Quart's own class that answers."""
    server: Server = request.getfixturevalue(which)
    with server.h1() as line:
        line.send_bytes(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nabc")
        line.send_bytes(b"def")
        assert line.reply().body == b"abcdef"


@pytest.mark.parametrize("over", ["h1", "h2"])
@pytest.mark.parametrize("which", ["lean", "own"])
@pytest.mark.parametrize(("path", "word"), [("/waits", "waits cancelled"), ("/slow-stream", "pieces")])
def test_a_client_that_leaves(request: pytest.FixtureRequest, which: str, over: str, path: str, word: str) -> None:
    """Its handler is cancelled, wherever it is."""
    server: Server = request.getfixturevalue(which)

    def count(word: str) -> int:
        with server.h1() as line:
            return int(json.loads(line.get("/ended").body).get(word, 0))

    before, began = count(word), count("waits began")
    if over == "h1":
        with server.h1() as line:
            line.send_bytes(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            if path == "/slow-stream":
                line.recv()
            else:
                eventually(lambda: count("waits began") == began + 1)
            line.vanish()
    else:
        with server.h2() as wire:
            wire.open(path)
            if path == "/slow-stream":
                wire.until(lambda: bool(wire.replies[1].body))
            else:
                eventually(lambda: count("waits began") == began + 1)
            wire.vanish()
    eventually(lambda: count(word) == before + 1)


def test_a_class_of_ones_own_is_left_alone() -> None:
    """Quart's hook is the application's: only Quart's default is replaced."""
    module = importlib.import_module(APP)
    load_app(f"{APP}:own")
    load_app(f"{APP}:lean")
    assert module.own.asgi_http_class is module.OwnConnection
    assert module.lean.asgi_http_class is HTTPConnection
