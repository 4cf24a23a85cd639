"""The same calls for code without an event loop: they run in one, in a thread that the session has for them."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from clients.rpc.calls import Codec
from clients.rpc.method import I, O

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Self

    from clients.rpc.calls import Answers, Protocol
    from clients.rpc.method import Method
    from clients.session import AsyncSession


class BlockingAnswers(Generic[O]):
    """The messages of a stream as they come; leave it as a context manager to end the call early."""

    def __init__(self, portal: BlockingPortal, answers: Answers[O]) -> None:
        self._portal, self._answers = portal, answers

    def __iter__(self) -> Iterator[O]:
        return self

    def __next__(self) -> O:
        try:
            message: O = self._portal.call(self._answers.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None
        return message

    def close(self) -> None:
        """End the call: the server hears of it."""
        self._portal.call(self._answers.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BlockingCalls:
    """What a synchronous session adds to itself to make calls: a session of the other kind, made when it is needed."""

    asynchronous: ClassVar[type[AsyncSession]]

    def __init__(self, make: Callable[[], AsyncSession]) -> None:
        self._make = make
        self._starting = threading.Lock()
        self._running: tuple[BlockingPortal, AsyncSession] | None = None
        self._exit = ExitStack()

    def unary(
        self,
        method: Method[I, O],
        message: I,
        *,
        timeout: float | None = None,
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> O:
        """Call a method that takes one message and gives one: see `clients.rpc.calls.Calls.unary`."""
        portal, session = self._calling()

        async def call() -> O:
            return await session.unary(method, message, timeout=timeout, protocol=protocol, codec=codec)

        answer: O = portal.call(call)
        return answer

    def server_stream(
        self,
        method: Method[I, O],
        message: I,
        *,
        timeout: float | None = None,
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> BlockingAnswers[O]:
        """Call a method that takes one message and gives many."""
        portal, session = self._calling()
        answers = session.server_stream(method, message, timeout=timeout, protocol=protocol, codec=codec)
        return BlockingAnswers(portal, answers)

    def converse(
        self,
        method: Method[I, O],
        messages: Iterator[I],
        *,
        timeout: float | None = None,
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> BlockingAnswers[O]:
        """Call a method that takes many messages and gives many; `messages` is read in a thread."""
        portal, session = self._calling()
        answers = session.converse(method, _in_thread(messages), timeout=timeout, protocol=protocol, codec=codec)
        return BlockingAnswers(portal, answers)

    def _calling(self) -> tuple[BlockingPortal, AsyncSession]:
        with self._starting:
            if self._running is None:
                portal = self._exit.enter_context(start_blocking_portal(name="handclasp-calls"))
                session = self._make()
                self._exit.callback(portal.call, session.close)
                self._running = portal, session
            return self._running

    def _end_calls(self) -> None:
        with self._starting:
            self._exit.close()
            self._running = None


_END: Any = object()


async def _in_thread(messages: Iterator[I]) -> AsyncIterator[I]:
    while (message := await to_thread.run_sync(next, messages, _END)) is not _END:
        yield message
