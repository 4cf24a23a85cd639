"""Between OpenSSL's memory and the socket."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

if TYPE_CHECKING:
    import asyncio

_ADDRESS = ffi.new("char **")

Address = tuple[str, int] | None

RECORD = 16_384
"""The most plaintext that one TLS record holds (RFC 8446 section 5.1)."""


def flush(tls: Any, transport: asyncio.Transport, plaintext: int = 0) -> None:
    """Hand OpenSSL's output to the transport, until there is none: one read a flush stalls large responses."""
    size = plaintext + 64 * (1 + plaintext // RECORD) + 1024
    while True:
        try:
            data = tls.bio_read(size)
        except SSL.WantReadError:
            return
        transport.write(data)
        if len(data) < size:
            return


def has_more(tls: Any) -> bool:
    """Whether OpenSSL was given more than it has read: asking it to read costs an exception where it was not."""
    return bool(lib.BIO_get_mem_data(tls._into_ssl, _ADDRESS) > 0)  # noqa: SLF001 - pyOpenSSL has no name for it


def endpoint(transport: asyncio.BaseTransport, which: str) -> Address:
    """Return host and port of one end, `peername` or `sockname`; None where the socket has none."""
    found = transport.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer's end has arrived, behind what nobody has read. Only Linux tells; elsewhere: never."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or not hasattr(select, "POLLRDHUP"):
        return False
    look = select.poll()
    look.register(sock.fileno(), select.POLLRDHUP)
    return bool(look.poll(0))
