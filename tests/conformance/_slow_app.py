"""An application that takes its time, and needs none to be imported."""

from __future__ import annotations

import asyncio
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says at once that it is at work, and how it went a second later."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"13")]})
    await send({"type": "http.response.body", "body": b"work ", "more_body": True})
    await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b"is done."})
