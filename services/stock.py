"""A small application beside the one that is served: by stock Hypercorn, in the worker's own loop.

Who does not answer here does not answer at all: that is what a probe wants to know.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import structlog
from hypercorn.asyncio import serve
from hypercorn.config import Config

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Iterator, Sequence

log = structlog.get_logger("handclasp.stock")

_LAST_WORDS = 1.0
"""Seconds that answers under way have."""

_REQUESTS, _STREAMS = 50, 10
"""Requests a connection, and at once: Hypercorn counts no resets, and here come strangers (CVE-2023-44487)."""

_BROKEN = "Unhandled exception in client_connected_cb"
"""What asyncio says of a connection whose callback raised."""
_CALLBACK = "hypercorn.asyncio.run"
"""The module whose callback is Hypercorn's."""


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
    config.keep_alive_max_requests, config.h2_max_concurrent_streams = _REQUESTS, _STREAMS
    task = asyncio.create_task(serve(app, config, shutdown_trigger=ended.wait))
    task.add_done_callback(_say_if_failed)
    try:
        with _one_line():
            yield
    finally:
        ended.set()
        await asyncio.wait([task], timeout=2 * _LAST_WORDS)
        task.cancel()


@contextmanager
def _one_line() -> Iterator[None]:
    """A connection there that breaks is a line in the log: whoever sends nonsense is not to fill it with tracebacks.

    Hypercorn's HTTP/2 raises at DATA behind an answer, for one.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if context.get("message") == _BROKEN and _is_of_hypercorn(error):
            log.info("a connection beside the main listener broke", reason=repr(_innermost(error)))
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def _is_of_hypercorn(error: BaseException | None) -> bool:
    trace = None if error is None else error.__traceback__
    return any(frame.f_globals.get("__name__") == _CALLBACK for frame, _ in walk_tb(trace))


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _say_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("a listener beside the main one has failed", reason=repr(failure))
