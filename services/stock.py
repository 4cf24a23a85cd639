"""A small application beside the one that is served: by stock Hypercorn, in the worker's own loop.

Who does not answer here does not answer at all: that is what a probe wants to know.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from hypercorn.asyncio import serve
from hypercorn.config import Config

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Sequence

log = structlog.get_logger("handclasp.stock")

_LAST_WORDS = 1.0
"""Seconds that answers under way have."""


class _Config(Config):
    """Hypercorn's, with a TLS context that was made elsewhere, or none."""

    context: ssl.SSLContext | None = None

    @property
    def ssl_enabled(self) -> bool:
        return self.context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self.context


@asynccontextmanager
async def serving(
    app: Any,
    sockets: Sequence[socket.socket],
    ended: asyncio.Event | None = None,
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serve until the block is left, or until `ended` is set; over TLS where there is a context."""
    if not sockets:
        yield
        return
    ended = ended or asyncio.Event()
    config = _Config()
    config.context = context
    config.bind = [f"fd://{sock.detach()}" for sock in (sock.dup() for sock in sockets)]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = _LAST_WORDS
    config.ssl_handshake_timeout = config.read_timeout = 10
    task = asyncio.create_task(serve(app, config, shutdown_trigger=ended.wait))
    task.add_done_callback(_say_if_failed)
    try:
        yield
    finally:
        ended.set()
        await asyncio.wait([task], timeout=2 * _LAST_WORDS)
        task.cancel()


def _say_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("a listener beside the main one has failed", reason=repr(failure))
