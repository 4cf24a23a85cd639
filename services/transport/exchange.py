"""One request and its response, as ASGI has them (HTTP scope, spec version 2.4), over either HTTP version."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from h2.errors import ErrorCodes

from services.transport.admission import announced, without_peer_fields
from services.transport.engine import suppress_body
from services.transport.fields import date, is_method
from services.transport.stream import HIGH_WATER, Stream
from services.transport.tasks import ClientDisconnectedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from services.transport.carrier import Carrier
    from services.transport.head import Fields, Head


_PIECE = 4_096
"""Bytes up to which pieces of a body that nobody has read yet are joined."""


REFUSALS = {413: "the request's body is too large", 421: "not a host that is served here", 431: "too many fields"}


class UnexpectedMessageError(RuntimeError):
    """The application sent an ASGI message that has no place at this point of the response."""


class Exchange(Stream):
    """The inbound half is a request's body; the application runs in a task of its own."""

    __slots__ = (
        "_body",
        "_body_ended",
        "_body_told",
        "_expects_trailers",
        "_gone",
        "_head",
        "_limit",
        "_ours",
        "_received",
        "_refused",
        "_scope",
        "_since",
        "_status",
        "_task",
        "_trailers",
        "_waiting",
        "_when_left",
    )

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        super().__init__(carrier, stream_id)
        self._body: deque[bytes | bytearray] = deque()
        self._body_told = False
        self._gone = False
        self._waiting: list[asyncio.Future[None]] = []
        self._status: int | None = None
        self._head: Fields | None = None  # not sent before the first byte of the body: an error may still replace it
        self._body_ended = False
        self._trailers: Fields = []
        self._expects_trailers = False
        self._since = time.monotonic()
        self._received = 0
        self._refused = False  # answered in the application's place, while it is at work
        self._task: asyncio.Task[None] | None = None  # the application's, until it begins
        self._limit = carrier.listener.admission.max_body
        self._when_left: Callable[[], object] | None = None

    # The inbound half.

    def begin(self, head: Head) -> None:
        carrier = self.carrier
        listener, connection = carrier.listener, carrier.connection
        raw_path, _, query = head.target.partition(b"?")
        path = raw_path.decode("ascii", "replace")
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "method": head.method.decode("ascii", "replace").upper(),
            "scheme": "https",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": listener.config.root_path,
            "headers": without_peer_fields(head.fields),
            "client": connection.peer.address,
            "server": carrier.server,
            "state": listener.state.copy(),
            "extensions": {"http.response.trailers": {}, "http.response.early_hint": {}} if head.version == "2" else {},
        }
        self._ours = carrier.tasks.introduce(self._scope)
        self._ours["whole"] = self.request_ended
        self._ours["when_left"] = self.when_left
        refused = listener.admission.objection(head.fields, head.authority) if self._is_well_formed(head) else 400
        if refused is not None:
            connection.limit_broken(REFUSALS.get(refused, "malformed request"), refused)
            self._answer(refused)
            return
        if not connection.is_vouched():  # cut, and with it this stream
            return
        carrier.running += 1
        self._task = carrier.tasks.start(self._run())

    def _is_well_formed(self, head: Head) -> bool:
        """What HTTP/2 leaves to us: h11 has looked at most of it, h2 at none."""
        return (
            is_method(head.method)
            and head.target.isascii()
            and (head.target.startswith(b"/") or head.target.partition(b"?")[0] == b"*")
            and (head.authority is None or b"@" not in head.authority)  # no userinfo (RFC 9113 section 8.3.1)
            # A body that is announced must not be missing (RFC 9113 section 8.1.1); h2 looks where there is DATA.
            and not (self.request_ended and announced(head.fields))
        )

    def when_left(self, call: Callable[[], object] | None) -> None:
        """Call when nobody waits for the response any more, while the application is at work; None: call nobody."""
        self._when_left = call

    def data(self, data: bytes) -> None:
        if not data or self._refused:
            return
        self._received += len(data)
        if self._limit is not None and self._received > self._limit:
            self._too_large()
            return
        last = self._body[-1] if self._body else None
        if last is not None and len(last) < _PIECE:  # a client that sends byte by byte must not cost an object a byte
            if isinstance(last, bytes):
                last = self._body[-1] = bytearray(last)
            last += data
        else:
            self._body.append(data)
        self._tell()

    def request_end(self) -> None:
        self._tell()

    def withdraw(self) -> None:
        """The stream was reset: an application that has not begun to work on it need not."""
        if self._task is not None:  # a request and its reset in one packet: the cost of a flood is what it starts
            self._task.cancel()
            self._task = None
            self.carrier.running -= 1
            self._log()

    def disconnected(self) -> None:
        self._gone = True
        if self._body:
            unread = sum(map(len, self._body))
            self._body.clear()
            self.carrier.read(self, unread)
        self._tell()
        if self._when_left is not None and (self._refused or not self.ended):
            self._when_left()

    def cut(self) -> None:
        if not self.ended and (self._head is not None or self._status is None):
            self._refuse(401)

    def _too_large(self) -> None:
        self.carrier.connection.limit_broken(REFUSALS[413], 413)
        if self._head is not None or self._status is None:
            self._refuse(413)
        else:
            self.carrier.reset(self, ErrorCodes.ENHANCE_YOUR_CALM)

    def _refuse(self, status: int) -> None:
        self._refused = True
        self._answer(status)
        self.disconnected()

    def _tell(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    # The application.

    async def _run(self) -> None:
        self._task = None
        listener = self.carrier.listener
        try:
            await listener.app(self._scope, self._receive, self._send, *listener.threads)  # type: ignore[arg-type]
        except ClientDisconnectedError:
            pass
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an application raises ends its request alone
            await listener.config.log.exception("Error in ASGI Framework")
        finally:
            self._ours.pop("when_left", None)  # who knows of its scope is freed now, not when cycles are collected
            self.carrier.running -= 1
            if self.ended:
                pass
            elif not self.closed and (self._head is not None or self._status is None):
                self._answer(500)
            else:  # half a response must not be taken for a whole one
                self.carrier.reset(self, ErrorCodes.INTERNAL_ERROR)
                self._log()

    async def _receive(self) -> Any:
        while True:
            if self._body:
                chunk = self._body.popleft()
                self.carrier.read(self, len(chunk))
                more = bool(self._body) or not self.request_ended
                self._body_told = not more
                return {"type": "http.request", "body": bytes(chunk), "more_body": more}
            if self._gone:
                return {"type": "http.disconnect"}
            if self.request_ended and not self._body_told:
                self._body_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            waiter = self.carrier.loop.create_future()
            self._waiting.append(waiter)
            await waiter

    async def _send(self, message: dict[str, Any]) -> None:
        if self.closed or self._refused:
            raise ClientDisconnectedError("the client has gone")
        kind = message["type"]
        if kind == "http.response.body" and self._status is not None and not self._body_ended:
            self._send_body(message)
            if self.pending_size >= HIGH_WATER:
                await self.drain()
        elif kind == "http.response.start" and self._status is None:
            status = int(message["status"])
            if not 200 <= status <= 999:
                raise UnexpectedMessageError(f"{status} is not the status of a final response")
            head = self.carrier.sendable(message.get("headers", ()))
            self._status = status
            self._head = [(b":status", b"%d" % status), *head]
            if b"date" not in [name for name, _ in head]:
                self._head.append(date())
            self._expects_trailers = bool(message.get("trailers", False))
        else:
            self._send_rarely(kind, message)

    def _send_body(self, message: dict[str, Any]) -> None:
        if self._head is not None:
            self.headers, self._head = self._head, None
        body = message.get("body", b"")
        if body and not suppress_body(self._scope["method"], self._status or 0):
            self.pending.append(bytes(body))
            self.pending_size += len(body)
        if not message.get("more_body", False):
            self._body_ended = True
            if not self._expects_trailers:
                self.ended = True
                self._log()
        self.carrier.schedule(self)

    def _send_rarely(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "http.response.trailers" and self._body_ended and not self.ended:
            self._trailers += self.carrier.sendable(message["headers"])
            if not message.get("more_trailers", False):
                self.trailers = self._trailers or None
                self.end()
                self._log()
        elif kind == "http.response.early_hint" and self._status is None:
            links = [(b"link", bytes(link)) for link in message["links"]]
            self.carrier.inform(self, [(b":status", b"103"), *self.carrier.sendable(links)])
        else:
            raise UnexpectedMessageError(f"{kind} has no place here: the status is {self._status}, ended: {self.ended}")

    def _answer(self, status: int) -> None:
        self._status = status
        self._head = None
        self.headers = [(b":status", b"%d" % status), (b"content-length", b"0"), date()]
        self.end()
        self._log()

    def _log(self) -> None:
        access = self.carrier.listener.access
        if access is not None:
            access(self._scope, self._status, time.monotonic() - self._since)
