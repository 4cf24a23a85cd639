"""One process: the lifespan, the listening sockets, the connections, and an end that loses no request."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from services.transport.connection import Connection
from services.transport.engine import Lifespan, WorkerContext
from services.transport.listener import Listener

if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable, Sequence

    from services.transport.engine import AppWrapper, Config
    from services.transport.source import CredentialSource

log = structlog.get_logger("handclasp.worker")


class Stop:
    """How a process is asked to end: the first call drains, the second one stops now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()

    def __call__(self) -> None:
        (self.now if self.asked.is_set() else self.asked).set()

    def on_signals(self, *signals: signal.Signals) -> None:
        """Have the running loop call this on each of the signals."""
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self)


async def serve(
    app: AppWrapper,
    config: Config,
    source: CredentialSource,
    sockets: Sequence[socket.socket],
    *,
    stop: Stop,
    access: Callable[[Any, int | None, float], None] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` on the sockets until asked to stop, then drain for up to `config.graceful_timeout` seconds.

    `ready` is called once, when connections are being accepted.

    Raises:
        LifespanFailureError, LifespanTimeoutError: the application did not start.
    """
    loop = asyncio.get_running_loop()
    state: dict[str, Any] = {}
    lifespan = Lifespan(app, config, loop, state)
    lifespan_task = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if lifespan_task.done():
        lifespan_task.result()
    listener = Listener(app, config, WorkerContext(None), source, state, loop, access=access)
    watch = loop.create_task(source.watch())
    servers = [
        await loop.create_server(partial(Connection, listener), sock=sock, backlog=config.backlog) for sock in sockets
    ]
    try:
        ready()
        await stop.asked.wait()
    finally:
        watch.cancel()
        await _drain(listener, servers, stop)
        await lifespan.wait_for_shutdown()
        lifespan_task.cancel()
        await asyncio.gather(lifespan_task, watch, return_exceptions=True)


async def _drain(listener: Listener, servers: Sequence[asyncio.Server], stop: Stop) -> None:
    await listener.worker.terminated.set()
    for server in servers:
        server.close()
    for connection in list(listener.connections):
        connection.shut_down()
    ends = [asyncio.ensure_future(listener.emptied()), asyncio.ensure_future(stop.now.wait())]
    await asyncio.wait(ends, timeout=listener.config.graceful_timeout, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if listener.connections:
        log.warning("stopped with connections open", connections=len(listener.connections))
    for connection in list(listener.connections):
        connection.finish()
    await asyncio.sleep(0)  # connection_lost is called in the next turn of the loop, and tells the applications
    for task in list(listener.tasks):
        task.cancel()
    await asyncio.gather(*listener.tasks, return_exceptions=True)
