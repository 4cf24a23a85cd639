"""Listening sockets for `HOST:PORT`, on every address that the host has."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

BACKLOG = 2048
"""Connections that the kernel completes before the process accepts them."""


class BindError(Exception):
    """An address cannot be listened on; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name or IP address) and a port; port 0 asks the kernel for one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT` or `[IPv6]:PORT`.

        Raises:
            BindError: the text is not of this form.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise BindError(f"'{text}' is no address to listen on: write HOST:PORT, for example localhost:8443")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(address: Address) -> list[socket.socket]:
    """Listen on every IPv4 and IPv6 address of the host; port 0 becomes one port, the same on all of them.

    Raises:
        BindError: the host is unknown, the port is taken or not ours to take.
    """
    targets = _targets(address)
    for last_try in (False, False, False, True):
        sockets: list[socket.socket] = []
        port = address.port
        try:
            for family, host in targets:
                sock = _bind(family, host, port)
                if sock is not None:
                    sockets.append(sock)
                    port = sock.getsockname()[1]
        except OSError as error:
            for sock in sockets:
                sock.close()
            # With port 0, the port that one family was given may be taken on the other.
            if address.port or last_try or error.errno != errno.EADDRINUSE:
                raise BindError(f"cannot listen on {address}: {_explain(error)}") from None
        else:
            if sockets:
                return sockets
    raise BindError(f"cannot listen on {address}: this machine has none of its addresses")


def _targets(address: Address) -> list[tuple[int, str]]:
    """The families and addresses of the host. `localhost` is both loopbacks, whatever /etc/hosts has (RFC 6761 6.3)."""
    if address.host.lower() == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot listen on {address}: the host is not known ({error.strerror})") from None
    return list(dict.fromkeys((family, str(target[0])) for family, _, _, _, target in found))


def _bind(family: int, host: str, port: int) -> socket.socket | None:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None  # a machine without IPv6
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6:
            return None  # `localhost` is ::1 in /etc/hosts, and the machine's IPv6 is switched off
        raise
    return sock


def _explain(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already: stop it, or choose a port with --bind HOST:PORT"
    if error.errno == errno.EACCES:
        return "ports below 1024 need more rights: choose a higher one with --bind HOST:PORT"
    return error.strerror or str(error)
