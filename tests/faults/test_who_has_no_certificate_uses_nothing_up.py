"""The listeners beside the main one, which strangers reach: who holds connections there holds nobody up."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil

from services.stock import MOST_CONNECTIONS
from tests.support.admin import ask, free_port
from tests.support.authority import ENROLL, Authority, post
from tests.support.issuer import client_context
from tests.support.server import eventually
from tests.support.trust import trusting

if TYPE_CHECKING:
    from pathlib import Path

FEW = 8


def test_connections_for_enrollment_are_bounded(tmp_path: Path) -> None:
    """Those that shake hands, those that begin to, and those that say nothing afterwards."""
    authority = Authority(tmp_path)
    context = client_context(None, trust=authority.alice / "ca.crt")
    with authority.serving() as server, ExitStack() as stack:
        assert post(authority.alice, authority.enroll_port, ENROLL, {}, certificate=False)[0] == 400
        process = psutil.Process(server.process.pid)
        before = process.num_fds()
        for number in range(MOST_CONNECTIONS + 100):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", authority.enroll_port), timeout=20))
            if number % 2:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname="localhost"))
            if number % 3 == 0:
                sock.sendall(b"\x16\x03")
        assert process.num_fds() > before + MOST_CONNECTIONS // 2
        eventually(lambda: process.num_fds() <= before + MOST_CONNECTIONS + FEW, 4)  # sooner than patience ends
        status, told = post(authority.alice, authority.enroll_port, ENROLL, {}, certificate=False)
        assert (status, told["code"]) == (400, "invalid_argument")
        with server.h2() as wire:
            assert wire.get().status == 200
        stack.close()
        eventually(lambda: process.num_fds() <= before + FEW)


def test_connections_for_probes_are_bounded(tmp_path: Path) -> None:
    port = free_port()
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}") as there, ExitStack() as stack:
        assert ask(port, "/livez")[0] == 200
        process = psutil.Process(there.server.process.pid)
        before = process.num_fds()
        for number in range(MOST_CONNECTIONS + 100):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            if number % 2:
                sock.sendall(b"GET /livez HTTP/1.1\r\nhost: loc")
        for _ in range(20):
            assert ask(port, "/livez") == (200, "ok\n")
        eventually(lambda: process.num_fds() <= before + MOST_CONNECTIONS + FEW, 4)  # sooner than patience ends
        stack.close()
        eventually(lambda: process.num_fds() <= before + FEW)
