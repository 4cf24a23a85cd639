"""What a server says of a failed call, in gRPC's words and in Connect's, into RPCError."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from clients.errors import RPCError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clients.api import Reply

CODES = (
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)
"""The canonical codes in Connect's spelling; gRPC's numbers are the places."""

_OF_STATUS = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
"""Codes of a response that says none: the same table in both protocols' specifications."""

_MEANINGS = {
    403: "its policy does not let us make this call",
    404: "it has no such method",
    503: "it takes no calls now, so try again later",
}
"""What it most likely means, for whoever reads it."""

_LONGEST = 1024


def of_status(status: int) -> RPCError:
    """The error of an HTTP status alone."""
    meaning = _MEANINGS.get(status)
    words = f"the server answered {status}" + (f": {meaning}" if meaning else "")
    return RPCError(words, code=_OF_STATUS.get(status, "unknown"))


def of_connect(document: Any, status: int) -> RPCError:
    """The error in Connect's JSON; by the status where there is none in it."""
    if not isinstance(document, dict) or document.get("code") not in CODES[1:]:
        return of_status(status)
    return RPCError(_line(document.get("message")) or document["code"].replace("_", " "), code=document["code"])


def raise_for_connect(reply: Reply) -> None:
    """Raise the RPCError of a unary answer that is none."""
    if reply.status == 200:
        return
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    raise of_connect(document, reply.status)


def raise_for_grpc(fields: Mapping[str, str]) -> None:
    """Raise the RPCError that gRPC's trailers tell of. What says no status at all is a failure, too."""
    number = fields.get("grpc-status", "")
    if number == "0":
        return
    if not number.isdecimal() or int(number) >= len(CODES):
        raise RPCError("the server ended the call without a gRPC status", code="unknown")
    code = CODES[int(number)]
    raise RPCError(_line(unquote(fields.get("grpc-message", ""))) or code.replace("_", " "), code=code)


def _line(text: Any) -> str:
    """One line of what a server says, in bounds."""
    if not isinstance(text, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST]).strip()
