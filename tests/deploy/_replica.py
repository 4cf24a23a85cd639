"""The greeter, with a header that says which replica has answered, after a moment of work."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from services.app import app as greeter

_NAME = os.environ.get("REPLICA", "?").encode()
_WORK = 0.02


async def app(scope: Any, receive: Any, send: Any) -> None:
    async def marked(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message["headers"], (b"x-replica", _NAME)]}
        await send(message)

    if scope["type"] == "http":
        await asyncio.sleep(_WORK)
    await greeter(scope, receive, marked)
