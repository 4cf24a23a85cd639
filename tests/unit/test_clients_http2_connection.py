"""What our HTTP/2 makes of a socket that ends: the caller hears httpx's words, which the retry knows."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from clients.http2.transport import _Connection


class Ended:
    """A socket whose other side has closed it, as anyio tells who writes."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def send(self, data: bytes) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error", [anyio.EndOfStream(), anyio.BrokenResourceError(), anyio.ClosedResourceError(), ConnectionResetError()]
)
def test_a_write_that_finds_the_end(error: Exception) -> None:
    async def write() -> None:
        wire: Any = Ended(error)
        connection = _Connection(wire)
        connection._h2.initiate_connection()
        await connection._flush()

    with pytest.raises(httpx.WriteError):
        asyncio.run(write())
