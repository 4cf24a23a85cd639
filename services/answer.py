"""What is answered to calls that nobody can take up: a canonical code and a line, in the place of a status alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from services.endings import tell_failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    Fields = Iterable[tuple[bytes, bytes]]

_WORDS = {
    404: ("unimplemented", "this service has no such method"),
    405: ("invalid_argument", "this method is called by POST"),
    415: ("invalid_argument", "not a content type of gRPC, gRPC-Web or Connect that this method takes"),
}
"""What is said where connectrpc has a status alone: a canonical code, as the status has it, and a line."""

_GRPC, _GRPC_WEB = b"application/grpc", b"application/grpc-web"
_UNIMPLEMENTED = b"12"
"""As gRPC numbers the code of `_WORDS[404]`."""


class Answer:
    """What is sent, with words where there would be a status alone."""

    def __init__(self, method: str, fields: Fields, send: Any) -> None:
        """`fields` are the request's."""
        self._method, self._send = method, send
        self._kind = kind_of(fields)
        self._body: bytes | None = None

    async def __call__(self, message: Any) -> None:
        if self._body is not None:
            message = {**message, "body": self._body}
        elif message["type"] == "http.response.start" and _is_bare(message):
            if message["status"] == 404 and self._kind.startswith(_GRPC):
                self._body = b""
                await self._is_not_there(_WORDS[404][1])
                return
            self._body, head = self._refuse(*_WORDS[message["status"]])
            message = {**message, "headers": [*message["headers"], *head]}
        await self._send(message)

    async def no_such_service(self) -> None:
        """Say so to a gRPC client."""
        await self._is_not_there("no such service is served here")
        await self._send({"type": "http.response.body", "body": b""})

    async def _is_not_there(self, words: str) -> None:
        """Begin gRPC's answer to what nobody implements: 200, and all else in trailers alone (its "Trailers-Only").

        A client of gRPC's makes the code of a 404 as well, but shows its user "Received http2 header with status: 404".
        """
        tell_failure(self._method, _WORDS[404][0], words)
        head = [(b"content-type", self._kind), (b"grpc-status", _UNIMPLEMENTED), (b"grpc-message", words.encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": head})

    async def needs_http2(self, words: str) -> None:
        """505 (RFC 9110 section 15.6.6), as Connect writes errors.

        gRPC's status is in trailers, which HTTP/1.1 clients do not read; and most of them send all before they read.
        """
        body, head = self._refuse("unimplemented", words)
        await self._send({"type": "http.response.start", "status": 505, "headers": head})
        await self._send({"type": "http.response.body", "body": body})

    def _refuse(self, code: str, words: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """The body and its fields; and it is written down."""
        tell_failure(self._method, code, words)
        body = json.dumps({"code": code, "message": words}).encode()
        return body, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


def kind_of(fields: Fields) -> bytes:
    """The content type that is said in these fields, or nothing."""
    return next((value for name, value in fields if name == b"content-type"), b"")


def is_grpc(fields: Fields) -> bool:
    """Whether these fields are of a gRPC call, for which HTTP/1.1 will not do (gRPC-Web is another thing)."""
    kind = kind_of(fields)
    return kind.startswith(_GRPC) and not kind.startswith(_GRPC_WEB)


def is_some_grpc(fields: Fields) -> bool:
    """Whether these fields are of a call by gRPC or gRPC-Web."""
    return kind_of(fields).startswith(_GRPC)


def _is_bare(start: Any) -> bool:
    return start["status"] in _WORDS and not any(name == b"content-type" for name, _ in start["headers"])
