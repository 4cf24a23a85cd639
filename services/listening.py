"""The sockets of a server: made for an address, or passed by who started it."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from services.admin.binding import admin_sockets
from services.server import Sockets
from services.transport.passed import Passed, is_passed
from services.transport.sockets import Address, BindError, listen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.settings import Settings

log = structlog.get_logger("handclasp.listening")


class Opened(NamedTuple):
    """The sockets, and what callers dial: the addresses as the user gave them, with the ports that the kernel gave."""

    sockets: Sockets
    addresses: Sequence[Address]


def open_sockets(settings: Settings) -> Opened:
    """Listen on everything that the settings name. Takes LISTEN_FDS out of the environment. Raises BindError."""
    passed = Passed.take(os.environ)
    beside = [bind for bind in (settings.admin_bind, settings.enroll_bind) if bind is not None]
    given = passed.claim(*settings.bind, *beside)
    main: list[socket.socket] = []
    addresses: list[Address] = []
    for bind in settings.bind:
        sockets = _of_network(bind, given[bind]) if is_passed(bind) else listen(Address.parse(bind))
        main += sockets
        addresses += map(_address, sockets) if is_passed(bind) else [_reachable(bind, sockets)]
    opened = Sockets(main, _admin(settings, given), _enroll(settings, given))
    if passed.left:
        log.warning(
            "sockets were passed that nobody serves: who connects to them waits",
            descriptors=passed.left,
            cure="name them, --bind fd://3 or --bind fd:// for all of them",
        )
    return Opened(opened, addresses)


def _admin(settings: Settings, given: dict[str, list[socket.socket]]) -> Sequence[socket.socket]:
    bind = settings.admin_bind
    if bind is None:
        return ()
    if not is_passed(bind):
        return admin_sockets(bind)
    for sock in given[bind]:
        if not settings.admin_public and sock.family != socket.AF_UNIX and not _is_loopback(sock):
            raise BindError(
                f"{bind} is {_address(sock)}, which other machines can reach, and the admin listener asks nobody who "
                "they are: give it a Unix socket or a loopback address, or say --admin-public"
            )
    return given[bind]


def _enroll(settings: Settings, given: dict[str, list[socket.socket]]) -> Sequence[socket.socket]:
    bind = settings.enroll_bind
    if bind is None:
        return ()
    return _of_network(bind, given[bind]) if is_passed(bind) else listen(Address.parse(bind))


def _of_network(bind: str, sockets: list[socket.socket]) -> list[socket.socket]:
    for sock in sockets:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise BindError(f"cannot listen on {bind}: it is no TCP socket (write ListenStream=PORT or ADDRESS:PORT)")
    return sockets


def _is_loopback(sock: socket.socket) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(sock.getsockname()[0]).is_loopback
    return False


def _address(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def _reachable(bind: str, sockets: Sequence[socket.socket]) -> Address:
    asked = Address.parse(bind)
    return Address(asked.host, asked.port or _address(sockets[0]).port)
