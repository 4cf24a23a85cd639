"""A small application beside the one that is served: by stock Hypercorn, in the worker's own loop.

Who does not answer here does not answer at all: that is what a probe wants to know. Connections are accepted here, and
not by Hypercorn, because it takes as many as come: strangers could use up the descriptors that the main listener needs.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from hypercorn.typing import LifespanState

log = structlog.get_logger("handclasp.stock")

MOST_CONNECTIONS = 256
"""Connections of one listener in one process. For one more the oldest is ended: an answer takes milliseconds, and who
is here for longer keeps others waiting.
"""

_PATIENCE = 10
"""Seconds for a handshake, and for anything that is read."""

_LAST_WORDS = 1.0
"""Seconds that answers under way have."""

_REQUESTS, _STREAMS = 50, 10
"""Requests a connection, and at once: Hypercorn counts no resets, and here come strangers (CVE-2023-44487)."""

_RECOVERY = 1.0
"""Seconds after which accepting is tried again: there are no descriptors left, mostly."""


class _Listener:
    """Some sockets, and one application behind them."""

    def __init__(self, app: Any, context: ssl.SSLContext | None) -> None:
        self._app = ASGIWrapper(app)
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._config = Config()
        self._config.accesslog = self._config.errorlog = None
        self._config.include_server_header = False
        self._config.read_timeout = _PATIENCE
        self._config.keep_alive_max_requests, self._config.h2_max_concurrent_streams = _REQUESTS, _STREAMS
        self._worker = WorkerContext(None)
        self._state: LifespanState = {}
        # The oldest first; without a transport while they shake hands.
        self._connections: dict[asyncio.Task[None], asyncio.Transport | None] = {}

    async def run(self, sockets: Sequence[socket.socket], ended: asyncio.Event) -> None:
        """Serve until `ended` is set; then no more is accepted, and what is under way has its last words."""
        lifespan = Lifespan(self._app, self._config, self._loop, self._state)
        living = self._loop.create_task(lifespan.handle_lifespan())
        await lifespan.wait_for_startup()
        accepting = [self._loop.create_task(self._accept(sock)) for sock in sockets]
        waiting = self._loop.create_task(ended.wait())
        try:
            done, _ = await asyncio.wait([*accepting, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*accepting, waiting):
                task.cancel()
            await self._worker.terminated.set()
            if self._connections:
                await asyncio.wait(self._connections, timeout=_LAST_WORDS)
            while self._connections:
                self._end_oldest()
            await lifespan.wait_for_shutdown()
            living.cancel()
            await asyncio.wait([living])

    async def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(sock)
            except ConnectionError:  # it has gone again
                continue
            except OSError as error:
                log.error("no connection can be accepted", reason=error.strerror, again_in=_RECOVERY)  # noqa: TRY400
                await asyncio.sleep(_RECOVERY)
                continue
            if len(self._connections) >= MOST_CONNECTIONS:
                self._end_oldest()
            task = self._loop.create_task(self._serve(accepted))
            self._connections[task] = None
            task.add_done_callback(lambda task: self._connections.pop(task, None))
            await asyncio.sleep(0)  # where one waits, `sock_accept` does not: others have their turn

    def _end_oldest(self) -> None:
        """At once: a TLS connection that is closed waits for its peer."""
        task, transport = next(iter(self._connections.items()))
        del self._connections[task]
        if transport is None:
            task.cancel()
        else:
            transport.abort()

    async def _serve(self, accepted: socket.socket) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else _PATIENCE,
            )
        except OSError:  # a handshake that fails, or takes too long; or it has gone again
            accepted.close()
            return
        if (task := asyncio.current_task()) not in self._connections:  # ended at the last moment
            transport.abort()
            return
        self._connections[task] = transport
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            await TCPServer(self._app, self._loop, self._config, self._worker, self._state, reader, writer)
        except Exception as error:  # noqa: BLE001 - Hypercorn's HTTP/2 raises at DATA behind an answer, for one
            log.info("a connection beside the main listener broke", reason=repr(_innermost(error)))


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
    own = [sock.dup() for sock in sockets]
    for sock in own:
        sock.setblocking(False)
    task = asyncio.create_task(_Listener(app, context).run(own, ended))
    task.add_done_callback(_say_if_failed)
    try:
        yield
    finally:
        ended.set()
        await asyncio.wait([task], timeout=3 * _LAST_WORDS)
        task.cancel()
        for sock in own:
            sock.close()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _say_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("a listener beside the main one has failed", reason=repr(failure))
