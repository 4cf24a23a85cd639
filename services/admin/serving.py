"""Serving it: by stock Hypercorn, in the worker's own loop. Who does not answer here does not answer at all."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import stat
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from hypercorn.asyncio import serve
from hypercorn.config import Config

from services.transport.sockets import Address, BindError, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from quart import Quart

log = structlog.get_logger("handclasp.admin")

_UNIX = "unix:"

_LAST_WORDS = 1.0
"""Seconds that answers under way have."""


def check_bind(bind: str, *, public: bool) -> str:
    """Return it, if only this machine reaches it, or if that is not asked. Raises BindError."""
    if bind.startswith(_UNIX):
        if not bind.removeprefix(_UNIX):
            raise BindError("'unix:' names no socket: write unix:/run/handclasp/admin.sock")
        return bind
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


@asynccontextmanager
async def serving(
    app: Quart, sockets: Sequence[socket.socket], ended: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Serve until the block is left, or until `ended` is set."""
    if not sockets:
        yield
        return
    ended = ended or asyncio.Event()
    config = Config()
    config.bind = [f"fd://{sock.detach()}" for sock in (sock.dup() for sock in sockets)]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = _LAST_WORDS
    task = asyncio.create_task(serve(app, config, shutdown_trigger=ended.wait))
    task.add_done_callback(_say_if_failed)
    try:
        yield
    finally:
        ended.set()
        await asyncio.wait([task], timeout=2 * _LAST_WORDS)
        task.cancel()


def _say_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("the admin listener has failed", reason=repr(failure))
