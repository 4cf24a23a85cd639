"""A WSGI application that does what such may do, by path, and some things that it must not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from services.peer import current_peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_called: dict[str, int] = {}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    _called[path] = _called.get(path, 0) + 1
    text = [("content-type", "text/plain")]
    if path == "/peer":
        start_response("200 OK", text)
        return [current_peer().identity.name.encode()]
    if path == "/called":
        start_response("200 OK", text)
        return [str(_called.get(environ["QUERY_STRING"], 0)).encode()]
    if path in ("/204", "/304"):
        start_response(f"{path[1:]} {'No Content' if path == '/204' else 'Not Modified'}", [])
        return []
    if path == "/empty":
        start_response("200 OK", text)
        return []
    if path == "/length":
        assert environ["wsgi.input_terminated"]
        read = environ["wsgi.input"].read()
        start_response("200 OK", text)
        return [str(len(read)).encode()]
    if path == "/pieces":
        start_response("200 OK", text)
        return (piece for piece in (b"", b"one ", b"two"))
    if path == "/write":
        write = start_response("200 OK", text)
        write(b"written ")
        return [b"returned"]
    if path == "/late":
        return _late(start_response)
    if path == "/changed":
        start_response("200 OK", text)
        start_response("500 Oh", text, (ValueError, ValueError("changed its mind"), None))
        return [b"sorry"]
    if path == "/midway":
        start_response("200 OK", text)
        return _midway()
    if path == "/silent":
        return [b"no head"]
    if path == "/twice":
        start_response("200 OK", text)
        start_response("200 OK", text)
    if path == "/status":
        start_response("200", text)
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"]))
        start_response("200 OK", text)
        return [b"at last"]
    start_response("404 Not Found", text)
    return [b"nothing"]


def _late(start_response: Callable[..., Any]) -> Iterator[bytes]:
    """PEP 3333: the head may be made with the first piece."""
    start_response("201 Created", [])
    yield b"late"


def _midway() -> Iterator[bytes]:
    yield b"a"
    raise RuntimeError("midway")
