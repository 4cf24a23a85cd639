"""Header fields that an application wants to send, made fit for the network; and the date, once a second."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\0\r\n]")

_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class UnsendableFieldError(ValueError):
    """The application's field would be a malformed message (RFC 9113 section 8.2.1)."""


def sendable(
    fields: Iterable[tuple[bytes, bytes]], *, dropped: frozenset[bytes] = _HOP_BY_HOP
) -> list[tuple[bytes, bytes]]:
    """Return the fields with lower-case names, without those that speak of an HTTP/1.1 connection.

    Raises:
        UnsendableFieldError: a name is no token or a pseudo-header's, a value holds NUL, CR or LF.
    """
    checked = []
    for name, value in fields:
        lower = _checked_name(bytes(name))
        if lower in dropped:  # RFC 9113 section 8.2.2
            continue
        if _FORBIDDEN_IN_VALUE.search(value):
            raise UnsendableFieldError(f"the value of {lower.decode('ascii')} holds a NUL or a line break")
        checked.append((lower, bytes(value).strip()))
    return checked


@lru_cache(maxsize=512)
def _checked_name(name: bytes) -> bytes:
    lower = name.strip().lower()
    if not _NAME.fullmatch(lower):
        raise UnsendableFieldError(f"{name!r} is not the name of a header field")
    return lower


def is_method(name: bytes) -> bool:
    """Whether this is a method's name: a token (RFC 9110 section 9.1)."""
    return _NAME.fullmatch(name.lower()) is not None


def date() -> tuple[bytes, bytes]:
    """Return the Date field (RFC 9110 section 6.6.1) of this second."""
    return b"date", _formatted(int(time.time()))


@lru_cache(maxsize=2)
def _formatted(second: int) -> bytes:
    return format_date_time(second).encode("ascii")
