"""The head of a request, whichever HTTP version it came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """What is asked for, before anything of it is judged."""

    version: str
    """As ASGI has it: `1.0`, `1.1` or `2`."""
    method: bytes
    target: bytes
    """Path and query: HTTP/2's `:path`, HTTP/1.1's origin-form (RFC 9112 section 3.2.1)."""
    fields: Fields
    """Without pseudo-header fields; the authority of HTTP/2 is their first, as `host`."""
    authority: bytes | None = None
    """HTTP/2's `:authority`. None: the Host field speaks."""
    protocol: bytes | None = None
    """HTTP/2's `:protocol` (RFC 8441 section 4)."""


def from_http2(received: Iterable[tuple[bytes, bytes]]) -> Head:
    """Read a header section that h2 has checked (RFC 9113 section 8.3.1)."""
    pseudo: dict[bytes, bytes] = {}
    fields: Fields = [(b"host", b"")]
    for field in received:
        name, value = field
        if name[0] == 0x3A:
            pseudo[name] = value
        elif name == b"host":
            fields[0] = (b"host", value)
        else:
            fields.append((name, value))
    authority = pseudo.get(b":authority")
    if authority is not None:
        fields[0] = (b"host", authority)
    return Head("2", pseudo[b":method"], pseudo.get(b":path", b""), fields, authority, pseudo.get(b":protocol"))
