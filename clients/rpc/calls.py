"""Calls over httpx, by gRPC or by Connect: one message or a stream of them, in either direction.

A deadline is told to the server and kept here. What was sent is sent again only where the server has not acted on it,
or where the contract says that it may be called twice; never once a message was answered.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import httpx

from clients.errors import ConnectionLost, InvalidRequest, RPCError, TimedOut
from clients.retrying import ATTEMPTS, pause
from clients.rpc.errors import of_connect, of_status, raise_for_grpc
from clients.rpc.framing import LAST, MAX_MESSAGE, Frames, framed
from clients.rpc.method import I, O
from clients.tls import HTTPVersion
from services.contracts.nesting import is_too_deep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from protobuf import Message

    from clients.rpc.method import Method


class Protocol(Enum):
    """How a call is written."""

    GRPC = "grpc"
    """Over HTTP/2 alone."""
    CONNECT = "connect"


class Codec(Enum):
    """How a message is written."""

    PROTO = "proto"
    JSON = "json"

    def encode(self, message: Message) -> bytes:
        """The bytes of a message."""
        return message.to_binary() if self is Codec.PROTO else message.to_json().encode()

    def decode(self, kind: type[O], data: bytes) -> O:
        """The message in bytes. Fields that our contract has not yet are left out. Raises RPCError."""
        try:
            if self is Codec.PROTO:
                return kind.from_binary(data)
            return kind.from_json(_shallow(data), ignore_unknown_fields=True)
        except (ValueError, TypeError, RecursionError) as error:
            raise RPCError(f"the answer is no {kind.__name__}", code="internal") from error


class Deadline:
    """When a call must be over. None: whenever it is."""

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and seconds <= 0:
            raise InvalidRequest(f"a deadline of {seconds} seconds has passed already")
        self._loop = asyncio.get_running_loop()
        self._end = None if seconds is None else self._loop.time() + seconds

    @property
    def milliseconds(self) -> int | None:
        """What is left, as the server is told."""
        return None if self._end is None else max(1, int((self._end - self._loop.time()) * 1000))

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Raise RPCError when it has passed. Not around a `yield`: whoever iterates is not to be interrupted."""
        try:
            async with asyncio.timeout_at(self._end):
                yield
        except TimeoutError:
            raise RPCError("no answer within the deadline", code="deadline_exceeded") from None


class Answers(Generic[O]):
    """The messages of a stream as they come. Leaving the iteration early ends the call: use `aclosing`, or read on."""

    def __init__(self, parts: AsyncIterator[O]) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[O]:
        return self

    async def __anext__(self) -> O:
        return await anext(self._parts)

    async def aclose(self) -> None:
        """End the call: the server hears of it."""
        close: Callable[[], Awaitable[None]] | None = getattr(self._parts, "aclose", None)
        if close is not None:
            await close()


class Calls:
    """What an asynchronous session adds to itself to make calls.

    `_asker` lends what asks, its errors translated into ClientErrors.
    """

    version: ClassVar[HTTPVersion]
    default_protocol: ClassVar[Protocol]

    def _asker(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        raise NotImplementedError

    async def unary(
        self,
        method: Method[I, O],
        message: I,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it is told to the server as well
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> O:
        """Call a method that takes one message and gives one; `timeout` in seconds is the call's deadline.

        RPCError where it fails; the other ClientErrors where there is no connection that could be used.
        """
        deadline, protocol = Deadline(timeout), protocol or self.default_protocol
        body = codec.encode(message)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with deadline.kept():
                    if protocol is Protocol.CONNECT:
                        return await self._connect_unary(method, body, deadline, codec)
                    found = [m async for m in self._grpc(method, _Once(framed(body)), deadline, codec)]
                return _the_one(found)
            except (ConnectionLost, TimedOut, RPCError) as error:
                if attempt == ATTEMPTS or not _may_repeat(error, method):
                    raise _as_rpc(error) from error
            async with deadline.kept():
                await asyncio.sleep(pause(attempt))
        raise AssertionError("the last attempt has returned or raised")

    def server_stream(
        self,
        method: Method[I, O],
        message: I,
        *,
        timeout: float | None = None,
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> Answers[O]:
        """Call a method that takes one message and gives many. Raises as `unary`, where it is iterated."""
        protocol = protocol or self.default_protocol
        return Answers(self._stream(method, lambda: _Once(framed(codec.encode(message))), timeout, protocol, codec))

    def converse(
        self,
        method: Method[I, O],
        messages: AsyncIterator[I],
        *,
        timeout: float | None = None,
        protocol: Protocol | None = None,
        codec: Codec = Codec.PROTO,
    ) -> Answers[O]:
        """Call a method that takes many messages and gives many, both at once. It is never repeated.

        InvalidRequest over HTTP/1.1, which answers what was said to its end.
        """
        if self.version is HTTPVersion.HTTP1:
            raise InvalidRequest("a conversation needs HTTP/2: use clients.http2")
        protocol = protocol or self.default_protocol
        said = _Said(codec.encode(message) async for message in messages)
        return Answers(self._stream(method, lambda: said, timeout, protocol, codec, once=True))

    async def _stream(
        self,
        method: Method[I, O],
        body: Callable[[], httpx.AsyncByteStream],
        timeout: float | None,  # noqa: ASYNC109
        protocol: Protocol,
        codec: Codec,
        *,
        once: bool = False,
    ) -> AsyncIterator[O]:
        deadline, seen = Deadline(timeout), False
        ask = self._grpc if protocol is Protocol.GRPC else self._connect_stream
        for attempt in range(1, ATTEMPTS + 1):
            parts = ask(method, body(), deadline, codec)
            try:
                while True:
                    async with deadline.kept():
                        try:
                            part = await anext(parts)
                        except StopAsyncIteration:
                            return
                    seen = True
                    yield part
            except (ConnectionLost, TimedOut, RPCError) as error:
                if once or seen or attempt == ATTEMPTS or not _may_repeat(error, method):
                    raise _as_rpc(error) from error
            finally:
                await parts.aclose()  # type: ignore[attr-defined]
            async with deadline.kept():
                await asyncio.sleep(pause(attempt))

    async def _connect_unary(self, method: Method[I, O], body: bytes, deadline: Deadline, codec: Codec) -> O:
        headers = _connect_headers(deadline, f"application/{codec.value}")
        async with self._asking(method, _Once(body), headers, deadline) as response:
            data = await _read(response)
            if response.status_code != 200:
                raise of_connect(_json(data), response.status_code)
            _check_kind(response, f"application/{codec.value}")
            return codec.decode(method.response, data)

    async def _connect_stream(
        self, method: Method[I, O], body: httpx.AsyncByteStream, deadline: Deadline, codec: Codec
    ) -> AsyncIterator[O]:
        kind = f"application/connect+{codec.value}"
        frames = Frames()
        async with self._asking(method, body, _connect_headers(deadline, kind), deadline) as response:
            if response.status_code != 200:
                raise of_connect(_json(await _read(response)), response.status_code)
            _check_kind(response, kind)
            async for data in response.aiter_raw():
                for flags, message in frames.feed(data):
                    if flags & LAST:
                        end = _json(message)
                        if not isinstance(end, dict):
                            raise RPCError("the stream did not say how it ended", code="internal")
                        if end.get("error"):
                            raise of_connect(end["error"], 500)
                        return
                    yield codec.decode(method.response, message)
        raise RPCError("the stream ended without its last message", code="unavailable")

    async def _grpc(
        self, method: Method[I, O], body: httpx.AsyncByteStream, deadline: Deadline, codec: Codec
    ) -> AsyncIterator[O]:
        kind = "application/grpc+" + codec.value
        headers = {"content-type": kind, "te": "trailers", "grpc-accept-encoding": "identity"}
        if deadline.milliseconds is not None:
            headers["grpc-timeout"] = f"{deadline.milliseconds}m"
        frames = Frames()
        async with self._asking(method, body, headers, deadline) as response:
            if response.status_code != 200:
                raise of_status(response.status_code)
            _check_kind(response, "application/grpc")
            async for data in response.aiter_raw():
                for _, message in frames.feed(data):
                    yield codec.decode(method.response, message)
            trailers: list[tuple[bytes, bytes]] = response.extensions.get("trailers", [])
            fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in trailers}
            raise_for_grpc(fields or response.headers)
            frames.check_whole()

    @asynccontextmanager
    async def _asking(
        self, method: Method[I, O], body: httpx.AsyncByteStream, headers: Mapping[str, str], deadline: Deadline
    ) -> AsyncIterator[httpx.Response]:
        async with self._asker() as http:
            # Of a stream nobody knows how long it is silent; the deadline ends what has one.
            patience = http.timeout if deadline.milliseconds is None and isinstance(body, _Once) else None
            limits = httpx.Timeout(None if patience is None else patience.read, connect=http.timeout.connect)
            fields = {"accept-encoding": "identity", **headers}
            request = http.build_request("POST", method.path, content=body, headers=fields, timeout=limits)
            response = await http.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()


class _Once(httpx.AsyncByteStream):
    """A body of one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data


class _Said(httpx.AsyncByteStream):
    """A body of messages that are still being made."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._messages:
            yield framed(message)


def _the_one(found: list[O]) -> O:
    if len(found) != 1:
        raise RPCError(f"{len(found)} messages in answer to a call of one", code="internal")
    return found[0]


def _connect_headers(deadline: Deadline, kind: str) -> dict[str, str]:
    headers = {"content-type": kind, "connect-protocol-version": "1", "connect-accept-encoding": "identity"}
    if deadline.milliseconds is not None:
        headers["connect-timeout-ms"] = str(deadline.milliseconds)
    return headers


async def _read(response: httpx.Response) -> bytes:
    """The whole body, in bounds."""
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        if len(data) > MAX_MESSAGE:
            raise RPCError(f"an answer of more than {MAX_MESSAGE:,} bytes", code="resource_exhausted")
    return bytes(data)


def _shallow(data: bytes) -> str:
    if is_too_deep(data):
        raise ValueError("it is nested too deep")
    return data.decode()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _check_kind(response: httpx.Response, kind: str) -> None:
    found = response.headers.get("content-type", "")
    if not found.startswith(kind):
        raise RPCError(f"the answer is no {kind}: is an RPC service there?", code="unknown")


def _may_repeat(error: Exception, method: Method[Any, Any]) -> bool:
    if _was_not_processed(error):
        return True
    lost = isinstance(error, ConnectionLost) or (isinstance(error, RPCError) and error.code == "unavailable")
    return lost and method.repeatable


def _was_not_processed(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "not_processed", False):
            return True
        error = error.__cause__
    return False


def _as_rpc(error: Exception) -> Exception:
    """What happens to a connection within a call, as a code."""
    if isinstance(error, TimedOut):
        return RPCError(str(error), code="deadline_exceeded")
    if isinstance(error, ConnectionLost):
        return RPCError(str(error), code="unavailable")
    return error
