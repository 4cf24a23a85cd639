"""One process: the lifespan, the listening sockets, the connections, and an end that loses no request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from services.audit import Audit
from services.transport.accepting import Acceptor
from services.transport.admission import Admission
from services.transport.engine import Lifespan, WorkerContext
from services.transport.handshake import Handshake
from services.transport.limits import Limits
from services.transport.listener import Listener

if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from services.transport.accepting import Share
    from services.transport.engine import AppWrapper, Config
    from services.transport.snapshot import Snapshot
    from services.transport.source import CredentialSource

log = structlog.get_logger("handclasp.worker")


_LAST_WORDS = 1.0
"""Seconds that tasks have which were told to end."""


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


@dataclass(frozen=True, slots=True)
class Terms:
    """What every caller is held to, and where it is written down."""

    limits: Limits = field(default_factory=Limits)
    admission: Admission = field(default_factory=Admission)
    audit: Audit = field(default_factory=Audit)
    access: Callable[[Any, int | None, float], None] | None = None
    max_requests: int | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    """What the application finds in its lifespan's state from the beginning."""


async def serve(
    app: AppWrapper,
    config: Config,
    source: CredentialSource,
    sockets: Sequence[socket.socket],
    *,
    stop: Stop,
    terms: Terms,
    ready: Callable[[], None] = lambda: None,
    retire: Callable[[], None] = lambda: None,
    share: Share | None = None,
) -> bool:
    """Serve `app` on the sockets until asked to stop, then drain for up to `config.graceful_timeout` seconds.

    `ready` is called once, when connections are being accepted; `retire` once, when `terms.max_requests` were answered.
    `share` is this worker's part of what arrives, where it is one of several on the same sockets.
    Return whether all has ended; where it has not, the application still holds tasks or threads, and the process should
    not wait for them.

    Raises:
        LifespanFailureError, LifespanTimeoutError: the application did not start.
    """
    loop = asyncio.get_running_loop()
    state = dict(terms.state)
    lifespan = Lifespan(app, config, loop, state)
    lifespan_task = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if lifespan_task.done():
        lifespan_task.result()
    listener = Listener(
        app,
        config,
        WorkerContext(None),
        source,
        state,
        loop,
        limits=terms.limits,
        admission=terms.admission,
        audit=terms.audit,
        access=terms.access,
        max_requests=terms.max_requests,
        retire=retire,
    )
    judging: set[asyncio.Task[None]] = set()  # asyncio itself keeps weak references only

    def judge(_: Snapshot) -> None:
        task = loop.create_task(listener.judge_all())
        judging.add(task)
        task.add_done_callback(judging.discard)

    source.on_change = judge
    watch = loop.create_task(source.watch())
    protocol = partial(Handshake, listener)
    servers: Sequence[asyncio.Server | Acceptor] = (
        [await loop.create_server(protocol, sock=sock, backlog=config.backlog) for sock in sockets]
        if share is None
        else [Acceptor(loop, sockets, protocol, share, lambda: len(listener.connections))]
    )
    try:
        ready()
        await stop.asked.wait()
    finally:
        watch.cancel()
        drained = await _drain(listener, servers, stop)
        ended = await _unless(stop, lifespan.wait_for_shutdown())
        lifespan_task.cancel()
        await asyncio.wait([lifespan_task, watch], timeout=_LAST_WORDS)
    return drained and ended


async def _drain(listener: Listener, servers: Sequence[asyncio.Server | Acceptor], stop: Stop) -> bool:
    await listener.worker.terminated.set()
    for server in servers:
        server.close()
        if isinstance(server, Acceptor):
            await server.settled()
    for connection in list(listener.connections):
        connection.shut_down()
    await _unless(stop, listener.emptied(), patience=listener.config.graceful_timeout)
    drained = not listener.connections
    if not drained:
        log.warning("stopped with connections open", connections=len(listener.connections))
    for connection in list(listener.connections):
        connection.finish()
    await asyncio.sleep(0)  # connection_lost is called in the next turn of the loop, and tells the applications
    for task in list(listener.tasks):
        task.cancel()
    if listener.tasks:
        await asyncio.wait(listener.tasks, timeout=_LAST_WORDS)
    return drained and not listener.tasks


async def _unless(stop: Stop, work: Coroutine[Any, Any, None], *, patience: float | None = None) -> bool:
    """Wait for the work, but not beyond its time, nor once the process must stop now. Return whether it is done."""
    tasks = [asyncio.create_task(work), asyncio.create_task(stop.now.wait())]
    await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    done = tasks[0].done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done
