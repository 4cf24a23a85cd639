"""WSGI applications (PEP 3333): Hypercorn's wrapper, but whole answers to whole requests.

Hypercorn's sends the head with the first piece of a body, so that an answer without one is a 500. It takes an upload
that was cut off for one that has ended. And it does not say where the input ends, so that Flask reads nothing of a body
without a Content-Length.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from services.transport.engine import InvalidPathError, WSGIWrapper, build_environ

if TYPE_CHECKING:
    from collections.abc import Callable

    Send = Callable[[dict[str, Any]], None]

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request's body that are gathered before the application is called; beyond, 413. Hypercorn's default."""

_STATUS = re.compile(r"([1-9]\d\d) .*", re.ASCII)


class WSGI(WSGIWrapper):
    """A WSGI application as an ASGI one."""

    async def handle_http(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        """Gather the request, run the application in a thread, send what it says as it says it."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # what is here may be half of a request: nobody may act on it
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.max_body_size:
                await _answer(send, 413, b"Content Too Large")
                return
        try:
            environ = build_environ(scope, b"")
        except InvalidPathError:
            await _answer(send, 404, b"Not Found")
            return
        environ["SERVER_PORT"] = str(environ["SERVER_PORT"])  # PEP 3333 has strings alone
        environ["wsgi.input"] = BytesIO(body)
        environ["wsgi.input_terminated"] = True  # what is read to its end is all there is
        environ["wsgi.errors"] = sys.stderr
        await sync_spawn(self.run_app, environ, partial(call_soon, send))

    def run_app(self, environ: dict[str, Any], send: Send) -> None:
        """Call the application, in a thread; `send` waits until the client takes more.

        Raises:
            RuntimeError: the application breaks PEP 3333.
            Exception: what the application raises.
        """
        response = _Response(send)
        pieces = self.app(environ, response.start)
        try:
            for piece in pieces:
                response.write(piece)
            response.end()
        finally:
            if hasattr(pieces, "close"):
                pieces.close()


class _Response:
    """What an application says of its answer: the head waits for the first piece of the body, or for its end."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: dict[str, Any] | None = None
        self._sent = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """`start_response`: a second call replaces the first, for an error, as long as nothing was sent."""
        if exc_info is not None:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback's frames
        elif self._head is not None:
            raise RuntimeError("the application called start_response twice without an error")
        found = _STATUS.fullmatch(status)
        if found is None:
            raise RuntimeError(f"the application's status is not like '200 OK': {status[:50]!r}")
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._head = {"type": "http.response.start", "status": int(found[1]), "headers": fields}
        return self.write

    def write(self, piece: bytes) -> None:
        if not piece and self._head is not None:
            return  # PEP 3333: an empty piece is no reason to send the head
        self._begin()
        self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def end(self) -> None:
        self._begin()
        self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _begin(self) -> None:
        if self._sent:
            return
        if self._head is None:
            raise RuntimeError("the application did not call start_response")
        self._sent = True
        self._send(self._head)


async def _answer(send: Any, status: int, words: bytes) -> None:
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(words))]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": words, "more_body": False})
