"""An ASGI application that serves whatever it is asked for and never fails: what the log holds is the server's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await _echo_messages(receive, send)
        return
    path = scope["path"]
    if path == "/stats":
        await _answer(send, json.dumps({"tasks": len(asyncio.all_tasks())}).encode())
    elif path == "/hold":
        await _read(receive, to_the_end_of="http.disconnect")
    elif path == "/early":
        await _answer(send, b"early", 413)
    elif path == "/large":
        await _answer(send, b"x" * 200_000)
    elif path == "/stream":
        await _stream(send)
    elif path == "/trailers" and "http.response.trailers" in scope["extensions"]:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})
    else:
        await _answer(send, b"%d" % await _read(receive, to_the_end_of="http.request"))


async def _read(receive: Any, *, to_the_end_of: str) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or (message["type"] == to_the_end_of and not message["more_body"]):
            return size


async def _answer(send: Any, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(5):
        await send({"type": "http.response.body", "body": b"%d;" % number, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def _echo_messages(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
