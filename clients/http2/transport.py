"""HTTP/2 for httpx, with what RPC needs and httpcore does not give: trailers, and both directions at once.

httpx's own transport sends the whole request before it reads the response, drops trailers, and loses what is under way
when the server says GOAWAY (looked at: httpcore 1.0). Here a connection carries any number of streams; a GOAWAY lets
those end that the server will answer, and marks the others as never processed (RFC 9113 section 6.8).
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

    from clients.tls import ClientContext

_WINDOW = 1024 * 1024
"""Bytes that the server may send ahead on a stream, and sixteen times that on the connection."""
_READ = 65_536
_GOAWAY = 7
_HOP = (b"host", b"connection", b"transfer-encoding", b"keep-alive", b"upgrade")
"""Fields that HTTP/2 has no place for (RFC 9113 section 8.2.2)."""


class NotProcessedError(httpx.RemoteProtocolError):
    """The server says that it has not acted on the request: it may be sent again, whatever it does."""

    not_processed = True


class _Stream:
    """One request and its response."""

    def __init__(self, connection: _Connection, number: int) -> None:
        self.connection, self.number = connection, number
        self.head: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()
        self.trailers: list[tuple[bytes, bytes]] = []
        self.sending: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self._data: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def received(self, data: bytes, flow: int) -> None:
        self._data.append((data, flow))
        self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        if self._ended:
            return
        self._ended, self._error = True, error
        if not self.head.done():
            self.head.set_exception(error or httpx.RemoteProtocolError("the stream ended without a response"))
            self.head.exception()  # it may be that nobody waits for it any more
        self.writable.set()
        self._news.set()

    @property
    def over(self) -> bool:
        return self._ended

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            while self._data:
                data, flow = self._data.popleft()
                await self.connection.consumed(self, flow)
                if data:
                    yield data
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._news.clear()
            await self._news.wait()


class _Body(httpx.AsyncByteStream):
    """The response's body."""

    def __init__(self, stream: _Stream, patience: float | None) -> None:
        self._stream, self._patience = stream, patience

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._stream.body()
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    part = await anext(parts)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise httpx.ReadTimeout("no more of the response in time") from None
            yield part

    async def aclose(self) -> None:
        await self._stream.connection.leave(self._stream)


class _Connection:
    """One connection and its streams. A task reads from it until it ends."""

    def __init__(self, wire: ByteStream) -> None:
        self._wire = wire
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._buffer = bytearray()
        self.usable = True
        """Whether it takes new streams."""
        self._reader: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not self._streams

    async def begin(self) -> None:
        """Say the preface, and read from now on."""
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: _WINDOW,
                codes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(16 * _WINDOW - 65_535)
        await self._flush()
        self._reader = asyncio.create_task(self._read())

    async def open(self, request: httpx.Request) -> _Stream:
        """Send a request's head. Waits where the server takes no more streams at once."""
        fields = [
            (b":method", request.method.encode()),
            (b":authority", request.headers["host"].encode()),
            (b":scheme", b"https"),
            (b":path", request.url.raw_path),
            *((name.lower(), value) for name, value in request.headers.raw if name.lower() not in _HOP),
        ]
        while self.usable and self._h2.open_outbound_streams >= self._h2.remote_settings.max_concurrent_streams:
            self._room.clear()
            await self._room.wait()
        if not self.usable:
            raise NotProcessedError("the connection takes no more requests")
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = _Stream(self, number)
        has_body = request.method not in ("GET", "HEAD") or "content-length" in request.headers
        self._h2.send_headers(number, fields, end_stream=not has_body)
        try:
            await self._flush()
        except BaseException:
            await self.leave(stream)
            raise
        if has_body:
            stream.sending = asyncio.create_task(self._send(stream, request))
        return stream

    async def _send(self, stream: _Stream, request: httpx.Request) -> None:
        """Send the body while the response is read. What fails here ends the stream, and shows there."""
        try:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            async for data in request.stream:
                await self._send_data(stream, memoryview(data))
            if not stream.over:
                self._h2.end_stream(stream.number)
                await self._flush()
        except h2.exceptions.ProtocolError:
            return  # the stream was reset meanwhile: its reader is told
        except httpx.TransportError as error:
            stream.end(error)
        except Exception as error:  # noqa: BLE001 - the caller's own iterator: it hears of it where it reads
            await self.leave(stream, error)

    async def _send_data(self, stream: _Stream, data: memoryview) -> None:
        while data and not stream.over:
            window = min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size)
            if window <= 0:
                stream.writable.clear()
                await stream.writable.wait()
                continue
            self._h2.send_data(stream.number, bytes(data[:window]))
            data = data[window:]
            await self._flush()

    async def consumed(self, stream: _Stream, flow: int) -> None:
        """The application has taken so many bytes: the server may send as many more."""
        with suppress(h2.exceptions.ProtocolError):  # the stream has ended, its window with it
            self._h2.acknowledge_received_data(flow, stream.number)
        await self._flush()

    async def leave(self, stream: _Stream, error: Exception | None = None) -> None:
        """The caller is done with a stream, whether it has ended or not; because of this error, where there is one."""
        if self._streams.pop(stream.number, None) is None:
            return
        if stream.sending is not None and stream.sending is not asyncio.current_task():
            stream.sending.cancel()
        if not stream.over:
            stream.end(error or httpx.RemoteProtocolError("the stream was left"))
            with suppress(h2.exceptions.ProtocolError, httpx.TransportError):
                self._h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
                await self._flush()
        self._room.set()
        if not self.usable and self.idle:
            await self.close()

    async def close(self) -> None:
        """End the connection, and all that is under way in it."""
        self.usable = False
        self._room.set()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        self._fail(httpx.ReadError("the connection was closed"))
        with suppress(Exception):
            await self._wire.aclose()

    async def _read(self) -> None:
        error: Exception = httpx.RemoteProtocolError("the server closed the connection")
        try:
            while True:
                self._take(await self._wire.receive(_READ))
                self._answer()
                if not self.usable and self.idle:
                    break
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            pass
        except (anyio.BrokenResourceError, OSError, ssl.SSLError) as broken:
            error = httpx.ReadError(str(broken.__cause__ or broken) or "the connection broke")
            error.__cause__ = broken.__cause__ or broken
        except (h2.exceptions.ProtocolError, httpx.TransportError) as broken:
            error = httpx.RemoteProtocolError(str(broken) or "the server does not speak HTTP/2")
        self.usable = False
        self._room.set()
        self._fail(error)
        with suppress(Exception):
            await self._wire.aclose()

    def _fail(self, error: Exception) -> None:
        for stream in list(self._streams.values()):
            stream.end(error)

    def _take(self, data: bytes) -> None:
        """Give h2 every frame but GOAWAY: after one it would accept nothing more, and there is more to come."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= 9:
            length = int.from_bytes(self._buffer[start : start + 3], "big")
            if len(self._buffer) - start < 9 + length:
                break
            frame = bytes(self._buffer[start : start + 9 + length])
            start += 9 + length
            if frame[3] == _GOAWAY and length >= 8:
                self._go_away(frame[9:])
            else:
                for event in self._h2.receive_data(frame):
                    self._dispatch(event)
        del self._buffer[:start]

    def _go_away(self, payload: bytes) -> None:
        last, code = struct.unpack_from(">II", payload)
        self.usable = False
        self._room.set()
        for number, stream in list(self._streams.items()):
            if number > last & 0x7FFFFFFF:
                stream.end(NotProcessedError(f"the server goes away (error {code}): the request was not processed"))

    def _dispatch(self, event: Any) -> None:
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        match event:
            case h2.events.ResponseReceived() if stream is not None:
                fields = dict(event.headers)
                if not stream.head.done():
                    rest = [(name, value) for name, value in event.headers if not name.startswith(b":")]
                    stream.head.set_result((int(fields[b":status"]), rest))
            case h2.events.DataReceived():
                if stream is None:  # left meanwhile: its bytes count all the same
                    with suppress(h2.exceptions.ProtocolError):
                        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                else:
                    stream.received(event.data, event.flow_controlled_length)
            case h2.events.TrailersReceived() if stream is not None:
                stream.trailers.extend(event.headers)
            case h2.events.StreamEnded() if stream is not None:
                stream.end()
            case h2.events.StreamReset() if stream is not None:
                stream.end(_reset(event.error_code))
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for one in [stream] if stream is not None else self._streams.values():
                    one.writable.set()
                self._room.set()

    def _answer(self) -> None:
        """Have sent what the server is owed (SETTINGS, PING). Who reads waits for no writer: both ends would."""
        if not self._writing.locked():
            self._answering = asyncio.create_task(self._flush())
            self._answering.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _flush(self) -> None:
        """Send all that h2 has to say, one writer at a time."""
        async with self._writing:
            while data := self._h2.data_to_send():
                try:
                    await self._wire.send(data)
                except (
                    anyio.BrokenResourceError,
                    anyio.ClosedResourceError,
                    anyio.EndOfStream,  # the peer has ended it: anyio's TLS says so to who writes, too
                    OSError,
                    ssl.SSLError,
                ) as error:
                    raise httpx.WriteError(str(error) or "the connection broke") from error


def _reset(code: int | None) -> Exception:
    if code == h2.errors.ErrorCodes.REFUSED_STREAM:
        return NotProcessedError("the server refused the stream")
    return httpx.RemoteProtocolError(f"the server reset the stream (error {int(code or 0)})")


class HTTP2Transport(httpx.AsyncBaseTransport):
    """Speaks HTTP/2 with one server, over one connection at a time. For one event loop."""

    def __init__(self, context: ClientContext) -> None:
        self._context = context
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._before: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, and return when its head is answered; its body may still be on its way there.

        The response's `trailers` extension, a list of fields, is filled when its body has been read.
        Raises httpx.TransportError, and NotProcessedError where it may be sent again.
        """
        patience = request.extensions.get("timeout", {})
        connection = await self._connected(request.url, patience.get("connect"))
        stream = await connection.open(request)
        try:
            async with asyncio.timeout(patience.get("read")):
                status, fields = await stream.head
        except TimeoutError:
            await connection.leave(stream)
            raise httpx.ReadTimeout("no response in time") from None
        except BaseException:
            await connection.leave(stream)
            raise
        extensions = {"http_version": b"HTTP/2", "trailers": stream.trailers}
        return httpx.Response(status, headers=fields, stream=_Body(stream, patience.get("read")), extensions=extensions)

    async def aclose(self) -> None:
        """End all connections."""
        for connection in (*self._before, *([self._connection] if self._connection else [])):
            await connection.close()
        self._connection, self._before = None, []

    async def _connected(self, url: httpx.URL, patience: float | None) -> _Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                if self._connection is not None:
                    self._before = [one for one in (*self._before, self._connection) if not one.idle]
                self._connection = await _connect(url, self._context, patience)
            return self._connection


async def _connect(url: httpx.URL, context: ClientContext, patience: float | None) -> _Connection:
    context.set_alpn_protocols([])
    try:
        async with asyncio.timeout(patience):
            wire = await anyio.connect_tcp(
                url.host, url.port or 443, tls_hostname=url.host, ssl_context=context, tls_standard_compatible=False
            )
            connection = _Connection(wire)
            await connection.begin()
            return connection
    except TimeoutError:
        raise httpx.ConnectTimeout("no connection in time") from None
    except (anyio.BrokenResourceError, anyio.EndOfStream, OSError, ssl.SSLError) as error:
        raise httpx.ConnectError(str(error.__cause__ or error) or "no connection") from error
