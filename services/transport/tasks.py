"""The application's side of a request: a task that knows its caller, and the queue it receives from."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from services.peer import bind_peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from services.transport.connection import Connection
    from services.transport.engine import AppWrapper, Config
    from services.transport.listener import Listener


class ClientDisconnectedError(OSError):
    """The application sends to a client that is gone. ASGI asks for an OSError here; left uncaught it means no harm.

    Without it an application that sends without end would never give the event loop back: sending to nobody does not
    wait for anything.
    """


class PeerTasks:
    """Starts the tasks of one connection, each in a context where `current_peer()` is the connection's peer.

    Stands in the place of Hypercorn's TaskGroup, which cancels the tasks of a connection together and raises
    `RuntimeError: TaskGroup is shutting down` into an application that is still at work when its connection ends.
    """

    __slots__ = ("_connection", "_context", "_listener")

    def __init__(self, connection: Connection, listener: Listener) -> None:
        self._connection = connection
        self._listener = listener
        self._context = contextvars.copy_context()
        self._context.run(bind_peer, connection.peer)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in a copy of the peer's context."""
        tasks, context = self._listener.tasks, self._context.copy()
        task = self._listener.loop.create_task(coroutine, context=context)
        tasks.add(task)
        task.add_done_callback(tasks.discard, context=context)
        return task

    def introduce(self, scope: dict[str, Any]) -> dict[str, Any]:
        """Put the peer into an ASGI scope: the standard's TLS extension, and the Peer itself, in what is returned.

        Each scope gets its own dictionaries: middleware that writes into one does not speak to the next request.
        """
        self._connection.requests += 1
        self._listener.count_request()
        extensions = scope["extensions"]
        tls = self._connection.extension
        extensions["tls"] = {**tls, "client_cert_chain": list(tls["client_cert_chain"])}
        extensions["handclasp"] = ours = {"peer": self._connection.peer}
        return ours

    def is_vouched(self) -> bool:
        """Whether the caller may still be answered; where not, the connection is cut by now."""
        return self._connection.is_vouched()

    # What Hypercorn's WSStream asks of a task group.

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Inbox:
        """Start the application on a scope of Hypercorn's; return what takes its events."""
        self.introduce(scope)
        inbox = Inbox(config.max_app_queue_size)

        async def send_to_client(message: Any) -> None:
            if inbox.disconnected or not self._connection.is_open:
                raise ClientDisconnectedError("the client has gone")
            await send(message)

        self.start(self._run(app, config, scope, inbox, send_to_client, send))
        return inbox

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Start a task of Hypercorn's own, such as a WebSocket's pings."""
        self.start(func(*args))

    async def _run(
        self,
        app: AppWrapper,
        config: Config,
        scope: Any,
        inbox: Inbox,
        send: Callable[[Any], Awaitable[None]],
        finish: Callable[[None], Awaitable[None]],
    ) -> None:
        loop = self._listener.loop
        try:
            await app(scope, inbox.get, send, partial(in_thread, loop), partial(call_soon, loop))
        except ClientDisconnectedError:
            pass
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an application raises ends its request alone
            await config.log.exception("Error in ASGI Framework")
        finally:
            inbox.abandon()
            try:
                await finish(None)
            except Exception:  # noqa: BLE001 - a defect below ends this connection, and no other
                await config.log.exception("Error at the end of a request")
                self._connection.close()


_THREADS = ThreadPoolExecutor(32, thread_name_prefix="wsgi")
"""Where WSGI applications run. Nothing else does: whatever they wait for, reloads and metrics do not wait for them."""


def in_thread(loop: asyncio.AbstractEventLoop, func: Callable[..., Any], *args: Any) -> Awaitable[Any]:
    """Run a function in a thread, in the caller's context: a WSGI application has its `current_peer()` too."""
    return loop.run_in_executor(_THREADS, partial(contextvars.copy_context().run, func, *args))


def call_soon(loop: asyncio.AbstractEventLoop, func: Callable[..., Any], *args: Any) -> Any:
    """Run a coroutine function on the loop from another thread and wait for it: how WSGI applications send."""
    return asyncio.run_coroutine_threadsafe(func(*args), loop).result()


class Inbox:
    """A bounded queue of ASGI events that never waits for an application which has ended. Called, it takes an event.

    Hypercorn's own queue does: an application that answers a large upload without reading it leaves the connection
    waiting for room that never comes.
    """

    __slots__ = ("_abandoned", "_events", "_getter", "_putters", "_size", "_when_idle", "disconnected")

    def __init__(self, size: int) -> None:
        self._size = size
        self._events: deque[Any] = deque()
        self._getter: asyncio.Future[None] | None = None
        self._putters: deque[asyncio.Future[None]] = deque()
        self._abandoned = False
        self._when_idle: Callable[[], None] | None = None
        self.disconnected = False
        """The last event is in: the client is gone, or has its answer."""

    async def __call__(self, event: Any) -> None:
        """Add an event; wait while the queue is full, unless the event is the last one (`*.disconnect`)."""
        last = event["type"].endswith(".disconnect")
        self.disconnected |= last
        while len(self._events) >= self._size and not self._abandoned and not last:
            waiter = asyncio.get_running_loop().create_future()
            self._putters.append(waiter)
            await waiter
        if self._abandoned:
            return
        self._events.append(event)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    async def get(self) -> Any:
        """Take the next event; wait for one."""
        while not self._events:
            if self._when_idle is not None:
                self._when_idle()
                self._when_idle = None
            self._getter = asyncio.get_running_loop().create_future()
            await self._getter
        event = self._events.popleft()
        self._wake_putter()
        return event

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once, when the application has handled all it was given and waits for more: perhaps now."""
        if not self._events and self._getter is not None and not self._getter.done():
            call()
        else:
            self._when_idle = call

    def abandon(self) -> None:
        """The application has ended: nobody will take what is here or what comes."""
        self._abandoned = True
        self._events.clear()
        while self._putters:
            self._wake_putter()

    def _wake_putter(self) -> None:
        while self._putters:
            waiter = self._putters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
