"""What both servers serve: a greeting from Quart, and the same one from ASGI alone.

Stock Hypercorn knows no peer over HTTP/2, so there the greeting is a constant of the same length. The bodies differ,
so that the load sees which of the two it was: an answer without the caller's name is a wrong answer of ours.
"""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, request

BY_PEER = b"Hello alice@example.com!"
BY_CONSTANT = b"Hello guest@example.com!"


def greeting(scope: Any) -> bytes:
    """Greet the peer by name where the server tells who it is, and a guest where it does not."""
    known = scope["extensions"].get("handclasp")
    return BY_CONSTANT if known is None else f"Hello {known['peer'].identity.name}!".encode()


quart_app = Quart("bench", static_folder=None)


@quart_app.get("/")
async def hello() -> Response:
    return Response(greeting(request.scope), content_type="text/plain; charset=utf-8")


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """The server's own cost, without a framework on top of it."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    body = greeting(scope)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
