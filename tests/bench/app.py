"""What every ASGI server here serves: a greeting, ten megabytes down, and as many up; from ASGI alone and from Quart.

A server that does not tell who calls greets a guest, whose name is as long as Alice's. So the load sees which of the
two it was: an answer without the caller's name is a wrong answer of a server that knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Quart, Response, request

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_PEER = b"Hello alice@example.com!"
BY_CONSTANT = b"Hello guest@example.com!"

MEGABYTES = 10
BODY_BYTES = MEGABYTES * 1_000_000

_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
_BLOCK = b"0123456789abcdefghijklmnopqrstuvwxyz" * 1820
"""Almost 64 KiB, what a file server reads at a time."""


def greeting(scope: Any) -> bytes:
    """Greet the peer by name where the server tells who it is, and a guest where it does not."""
    known = scope.get("extensions", {}).get("handclasp")
    return BY_CONSTANT if known is None else f"Hello {known['peer'].identity.name}!".encode()


quart_app = Quart("bench", static_folder=None)


@quart_app.get("/")
async def hello() -> Response:
    return Response(greeting(request.scope), content_type="text/plain; charset=utf-8")


nameless_app = Quart("nameless", static_folder=None)
"""The same without a look at the caller: what the identity costs is the difference."""


@nameless_app.get("/")
async def hello_guest() -> Response:
    return Response(BY_CONSTANT, content_type="text/plain; charset=utf-8")


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """The server's own cost, without a framework on top of it."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"] == "/download":
        await _download(send)
    elif scope["path"] == "/upload":
        await _answer(send, b"%d" % await _count(receive))
    else:
        await _answer(send, greeting(scope))


def blocks() -> Iterator[bytes]:
    """The ten megabytes in pieces."""
    whole, rest = divmod(BODY_BYTES, len(_BLOCK))
    for _ in range(whole):
        yield _BLOCK
    yield _BLOCK[:rest]


async def _answer(send: Any, body: bytes) -> None:
    headers = [*_TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _download(send: Any) -> None:
    headers = [(b"content-length", b"%d" % BODY_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for block in blocks():
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body"})


async def _count(receive: Any) -> int:
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    return count


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
