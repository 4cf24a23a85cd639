"""How RPCs end that did not mean to: by a fault of the handler's, or because the server stops.

connectrpc tells the caller what a handler raised, whatever it was; here the log hears of it, and the caller a canonical
code. A stream that is still open when the server's patience ends is told so, in words, before it is cut. Every call
that fails is in the audit log, whoever is to blame: nonsense, too much of it, a deadline, a caller that left, our end.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from services.overview import current_overview

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

log = structlog.get_logger("handclasp.rpc")

Told: TypeAlias = "Callable[[str, str, str], None]"
"""Is told of a call that failed: its method, the canonical code, and why."""

_told: ContextVar[Told | None] = ContextVar("handclasp.failures", default=None)

STOPPING = "the server is stopping and ended the stream: call again, another one will answer"


class ToldError(ConnectError):
    """A failure that is in the audit log already, or for a reason is not."""


class UnreadableError(ConnectError):
    """A message that cannot be read. What is said of it repeats it: for the caller alone, not for the audit log."""


class Failures:
    """An interceptor that writes down what fails, from the moment on in which it is known what is called and how."""

    async def on_start(self, ctx: Any) -> None:
        """Refuse what comes too late: connectrpc would still ask a handler that waits for nothing."""
        left = ctx.timeout_ms
        if left is not None and left <= 0:
            error = ConnectError(Code.DEADLINE_EXCEEDED, "the deadline had passed before the call was read")
            await self.on_end(None, ctx, error)
            raise error

    async def on_end(self, _: None, ctx: Any, error: Exception | None, /) -> None:
        """Write it down where there is an error."""
        if error is None or isinstance(error, ToldError):
            return
        code = error.code.value if isinstance(error, ConnectError) else "unknown"
        reason = "the message cannot be read" if isinstance(error, UnreadableError) else str(error)
        tell_failure(f"{ctx.method.service_name}/{ctx.method.name}", code, reason)


def bind_failures(told: Told | None) -> None:
    """Have this one told, in the running context."""
    _told.set(told)


def tell_failure(method: str, code: str, reason: str) -> None:
    """Have a call that failed be written down, wherever that is here."""
    if (told := _told.get()) is not None:
        told(method, code, reason)


class Endings:
    """An interceptor for every kind of RPC."""

    async def intercept_unary(self, call_next: Callable[..., Awaitable[Any]], request: Any, ctx: Any, /) -> Any:
        try:  # not `_translated`: a call of one message is counted in microseconds
            return await call_next(request, ctx)
        except ConnectError:
            raise
        except Exception as error:
            raise _failed() from error

    async def intercept_client_stream(self, call_next: Callable[..., Awaitable[Any]], request: Any, ctx: Any, /) -> Any:
        with _translated(), _may_be_ended():
            return await call_next(request, ctx)

    async def intercept_server_stream(
        self, call_next: Callable[..., AsyncIterator[Any]], request: Any, ctx: Any, /
    ) -> AsyncIterator[Any]:
        with _translated(), _may_be_ended():
            async for message in call_next(request, ctx):
                yield message

    intercept_bidi_stream = intercept_server_stream


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ConnectError:
        raise
    except Exception as error:
        raise _failed() from error


def _failed() -> ConnectError:
    """Write down the exception that is being handled; return what the caller is told."""
    log.exception("an RPC's handler failed")
    return ConnectError(Code.INTERNAL, "the handler failed; the server's log says how")


@contextmanager
def _may_be_ended() -> Iterator[None]:
    """Have the server end what is under way in this task, and say to the caller that it did."""
    overview, task = current_overview(), asyncio.current_task()
    if overview is None or task is None:
        yield
        return
    overview.streams.add(task)
    try:
        yield
    except asyncio.CancelledError:
        if not overview.streams_ended:
            raise
        task.uncancel()
        raise ConnectError(Code.UNAVAILABLE, STOPPING) from None
    finally:
        overview.streams.discard(task)
