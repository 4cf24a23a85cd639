"""On what terms every RPC service is answered: how large a message may be, how it is written, how calls end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError

from services.contracts.nesting import DEEPEST, is_too_deep
from services.endings import Endings, Failures, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protobuf import Message

    Fields = Sequence[tuple[bytes, bytes]]

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one message that is read; beyond, RESOURCE_EXHAUSTED. gRPC's own default."""

_SHOWN = 200


class _BoundedJSON:
    """connectrpc's JSON, of what its parser survives."""

    def __init__(self) -> None:
        inner = proto_json_codec()
        self.name, self.encode, self._decode = inner.name, inner.encode, inner.decode

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Message:
        """The message in `data`. What this raises is the caller's INVALID_ARGUMENT."""
        if is_too_deep(data):
            raise ConnectError(Code.INVALID_ARGUMENT, f"the message is nested more than {DEEPEST} levels deep")
        try:
            message: Message = self._decode(data, message_class)
        except Exception as error:
            # It repeats what it was given, megabytes and lines of it, where that is no message at all.
            raise UnreadableError(Code.INVALID_ARGUMENT, f"unmarshal message: {_line(str(error))}") from error
        return message


def terms(read_max_bytes: int = MAX_MESSAGE) -> dict[str, Any]:
    """The keyword arguments of a generated ASGI application."""
    return {
        "read_max_bytes": read_max_bytes,
        "interceptors": (Failures(), Endings()),
        "codecs": (proto_binary_codec(), _BoundedJSON()),
    }


def legible(fields: Fields) -> Fields:
    """Header fields as connectrpc reads them, in UTF-8: other bytes are taken for Latin-1 (RFC 9110 section 5.5).

    It answers 500 to what it cannot decode, and has the log hear of a fault that is none of ours.
    """
    if all(value.isascii() for _, value in fields):
        return fields
    return [(name, _as_utf8(value)) for name, value in fields]


def _line(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}..."


def _as_utf8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value
