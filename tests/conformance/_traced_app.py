"""An application that answers, fails, refuses and speaks WebSocket."""

from __future__ import annotations

import json
import sys
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    path = scope["path"]
    if scope["type"] == "websocket":
        await receive()
        if path == "/no":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await receive()
    elif path == "/raises":
        raise ValueError("no \udcff\x1b[2J such thing " + "x" * 100_000)
    elif path.startswith("/busy"):
        await answer(send, b"busy", 503)
    elif path == "/modules":
        await answer(send, json.dumps([name for name in sys.modules if "telemetry" in name]).encode())
    elif path == "/child":
        from opentelemetry import trace

        with trace.get_tracer("shop").start_as_current_span("look up", attributes={"shop.item": "42"}):
            await answer(send, b"found")
    else:
        await answer(send, b"hello")


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
