"""Applications that do not end when they are asked to."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

LONG = 60
"""Seconds: longer than any test waits."""


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


async def _lifespan(receive: Any, send: Any, last: float = 0.0) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            _say("shutdown begun")
            await asyncio.sleep(last)
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def hold(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    _say("request begun")
    await asyncio.sleep(LONG)
    return None


async def in_a_thread(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    _say("request begun")
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, LONG)
    return None


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    _say("request begun")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue
    return None


async def slow_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send, last=LONG)
    raise AssertionError("nobody asks this one")
