"""Where it listens: on loopback or a Unix socket, unless somebody insists."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from services.transport.passed import check_passed, is_passed
from services.transport.sockets import Address, BindError, listen

_UNIX = "unix:"


def check_bind(bind: str, *, public: bool) -> str:
    """Return it, if only this machine reaches it, or if that is not asked. Raises BindError."""
    if bind.startswith(_UNIX):
        if not bind.removeprefix(_UNIX):
            raise BindError("'unix:' names no socket: write unix:/run/handclasp/admin.sock")
        return bind
    if is_passed(bind):  # where it listens shows when it is there
        return check_passed(bind)
    address = Address.parse(bind)
    if public or address.host == "localhost":
        return bind
    with suppress(ValueError):
        if ipaddress.ip_address(address.host).is_loopback:
            return bind
    raise BindError(
        f"'{bind}' can be reached from other machines, and the admin listener asks nobody who they are: "
        "bind it to 127.0.0.1:PORT or unix:PATH, or say --admin-public"
    )


def answers_to(host: str, bind: str, *, public: bool) -> bool:
    """Whether a request for this host (the Host field) is one that was meant for `bind`.

    A page that a browser of this machine shows may have its own name lead here (DNS rebinding), and read the answers.
    Who listens on loopback is therefore asked for as localhost, by an address, or by the name that it was bound to.
    """
    if public or bind.startswith(_UNIX) or not host:
        return True
    own = "localhost" if is_passed(bind) else Address.parse(bind).host.lower()
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0].removesuffix(".")
    if name in ("localhost", own) or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def admin_sockets(bind: str) -> list[socket.socket]:
    """Listen on `HOST:PORT` or `unix:PATH`; the socket file is for this user and group. Raises BindError."""
    if not bind.startswith(_UNIX):
        return listen(Address.parse(bind))
    path = Path(bind.removeprefix(_UNIX))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path)
        before = os.umask(0o117)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(128)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot listen on {bind}: {error.strerror or error}") from None
    return [sock]


def forget_socket(bind: str) -> None:
    """Remove the file of a Unix socket, once nobody serves on it any more."""
    if bind.startswith(_UNIX):
        Path(bind.removeprefix(_UNIX)).unlink(missing_ok=True)


def _make_room(path: Path) -> None:
    """Remove the socket of a server that is gone. Raises OSError where somebody listens, or it is something else."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another program listens there already")
