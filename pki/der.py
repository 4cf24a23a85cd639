"""DER, as much of it as a revocation list needs (X.690): built from values, and taken apart one level deep."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def sequence(*members: bytes) -> bytes:
    """SEQUENCE of what is encoded already."""
    return _tagged(0x30, b"".join(members))


def integer(value: int) -> bytes:
    """INTEGER, not negative."""
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(content: bytes) -> bytes:
    """OCTET STRING."""
    return _tagged(0x04, content)


def bit_string(content: bytes) -> bytes:
    """BIT STRING of whole bytes."""
    return _tagged(0x03, b"\0" + content)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    first, second, *others = map(int, dotted.split("."))
    return _tagged(0x06, b"".join(map(_base128, (40 * first + second, *others))))


@lru_cache(maxsize=4096)
def time(moment: datetime) -> bytes:
    """UTCTime through 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5); whole seconds."""
    moment = moment.astimezone(UTC)
    if moment.year < 2050:
        return _tagged(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return _tagged(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def children(encoded: bytes) -> list[bytes]:
    """The members of a SEQUENCE that is well-formed, each with its header."""
    start, end = _content(encoded, 0)
    members = []
    while start < end:
        _, following = _content(encoded, start)
        members.append(encoded[start:following])
        start = following
    return members


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _content(encoded: bytes, start: int) -> tuple[int, int]:
    """Where the content of the element at `start` begins and ends."""
    size = encoded[start + 1]
    if size < 0x80:
        return start + 2, start + 2 + size
    octets = size & 0x7F
    begin = start + 2 + octets
    return begin, begin + int.from_bytes(encoded[start + 2 : begin], "big")


def _base128(value: int) -> bytes:
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(value & 0x7F | 0x80)
    return bytes(reversed(octets))
