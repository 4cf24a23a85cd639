"""Socket activation: sockets passed by fork and exec, with LISTEN_FDS and LISTEN_PID, to one process or two."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from services.transport.passed import Passed, check_passed
from services.transport.sockets import BindError
from tests.deploy._serving import APP, asked
from tests.support.admin import ask
from tests.support.manager import started

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A TCP socket that listens, as `ListenStream=` makes one."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def refused(tmp_path: Path, *arguments: str, sockets: tuple[socket.socket, ...] = (), **environment: str) -> str:
    """The one line on stderr of a server that does not start."""
    with started(tmp_path, APP, *arguments, sockets=sockets, **environment) as service:
        assert service.exit_code() != 0
        (line,) = service.err.splitlines()
        return line


@WORKERS
@pytest.mark.parametrize("bind", ["fd://3", "fd://", "fd://https"])
def test_a_socket_that_was_passed(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, listening: socket.socket, bind: str, workers: str
) -> None:
    """By number, by name, or all there are. The application finds none of the variables."""
    options = ["--credential", str(credentials / "localhost"), "--bind", bind, "--workers", workers]
    with started(tmp_path, APP, *options, sockets=[listening], LISTEN_FDNAMES="https") as service:
        assert service.port() == port_of(listening)
        process, names = asked(port_of(listening), alice)
        assert (process == service.pid) is (workers == "1")
        assert names == ""
        assert "passed that nobody serves" not in service.err
        service.signal(signal.SIGTERM)
        assert service.exit_code() == 0


@WORKERS
def test_who_connects_while_it_restarts_waits(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, listening: socket.socket, workers: str
) -> None:
    """The socket is the manager's: between two services a connection is neither refused nor lost."""
    options = ["--credential", str(credentials / "localhost"), "--bind", "fd://3", "--workers", workers]
    with started(tmp_path, APP, *options, sockets=[listening]) as service:
        service.port()
        asked(port_of(listening), alice)
        service.signal(signal.SIGTERM)
        assert service.exit_code() == 0
    with socket.create_connection(("127.0.0.1", port_of(listening)), 5) as waiting:
        (tmp_path / "again").mkdir()
        with started(tmp_path / "again", APP, *options, sockets=[listening]) as service:
            service.port()
            waiting.settimeout(20)
            with alice.wrap_socket(waiting, server_hostname="localhost") as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert tls.recv(100).startswith(b"HTTP/1.1 200")


def test_several_sockets_by_their_names(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, listening: socket.socket
) -> None:
    """Two for callers, a Unix socket for probes: `fd://` is all that have no other use."""
    with ExitStack() as stack:
        second = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        admin = stack.enter_context(socket.socket(socket.AF_UNIX))
        admin.bind(str(tmp_path / "admin.sock"))
        admin.listen()
        options = ["--credential", str(credentials / "localhost"), "--bind", "fd://", "--admin-bind", "fd://admin"]
        names = "https:admin:https"
        service = stack.enter_context(
            started(tmp_path, APP, *options, sockets=[listening, admin, second], LISTEN_FDNAMES=names)
        )
        service.port()
        assert {asked(port_of(sock), alice)[0] for sock in (listening, second)} == {service.pid}
        assert ask(str(tmp_path / "admin.sock"), "/readyz") == (200, "ok\n")
        service.signal(signal.SIGTERM)
        assert service.exit_code() == 0
    assert (tmp_path / "admin.sock").exists(), "who made it removes it"


def test_a_socket_that_nobody_names_is_told(tmp_path: Path, credentials: Path, listening: socket.socket) -> None:
    """Else those who connect there would wait, and nobody would know why."""
    options = ["--credential", str(credentials / "localhost"), "--bind", "localhost:0"]
    with started(tmp_path, APP, *options, sockets=[listening]) as service:
        service.port()
        (line,) = [line for line in service.err.splitlines() if "passed that nobody serves" in line]
        assert "--bind fd://3" in line


def test_sockets_of_another_process(tmp_path: Path, credentials: Path, listening: socket.socket) -> None:
    """A shell between systemd and the server has taken the process id: it is said, with the cure."""
    options = ["--credential", str(credentials / "localhost"), "--bind", "fd://https"]
    line = refused(tmp_path, *options, sockets=(listening,), LISTEN_FDNAMES="https", LISTEN_PID="1")
    assert line.startswith("handclasp-serve: error: no socket named 'https' was passed: the sockets are for process 1 ")
    assert "start handclasp-serve itself" in line


def test_a_number_is_enough_for_other_managers(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, listening: socket.socket
) -> None:
    """Without LISTEN_FDS, as circus and Hypercorn's own `fd://` have it."""
    options = ["--credential", str(credentials / "localhost"), "--bind", "fd://3"]
    with started(tmp_path, APP, *options, sockets=[listening], LISTEN_FDS="", LISTEN_PID="") as service:
        assert asked(service.port(), alice)[0] == service.pid


def test_what_is_no_tcp_socket_is_refused(tmp_path: Path, credentials: Path) -> None:
    """With one line that says what to do; nothing listens."""
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "local"))
        local.listen()
        options = ("--credential", str(credentials / "localhost"), "--bind", "fd://3")
        assert "it is no TCP socket" in refused(tmp_path, *options, sockets=(local,))


@pytest.mark.parametrize(
    ("bind", "said"),
    [
        ("fd://", "LISTEN_FDS is not set"),
        ("fd://https", "LISTEN_FDS is not set"),
        ("fd://1048576", "it is no socket"),
    ],
)
def test_nothing_was_passed(bind: str, said: str) -> None:
    with pytest.raises(BindError, match=said):
        Passed.take({}).claim(bind)


@pytest.mark.parametrize("bind", ["fd://1", "fd://2097152", "fd://a:b", "fd://a/b", "fd://\n"])
def test_what_can_name_no_socket(bind: str) -> None:
    with pytest.raises(BindError, match="is no socket"):
        check_passed(bind)


def test_each_has_one_use(listening: socket.socket) -> None:
    """A name that was not passed is told with those that were; none is taken twice; datagrams are no streams."""
    number = os.dup(listening.fileno())
    passed = Passed({number: "https"})
    with pytest.raises(BindError, match="there are https"):
        passed.claim("fd://http")
    with pytest.raises(BindError, match="named twice"):
        passed.claim("fd://https", "fd://https")
    assert passed.left == [number]
    (found,) = passed.claim("fd://https")["fd://https"]
    found.close()
    assert passed.left == []
    with pytest.raises(BindError, match="named twice"):
        passed.claim(f"fd://{number}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with pytest.raises(BindError, match="ListenStream="):
            Passed({datagrams.fileno(): ""}).claim("fd://")


def test_an_admin_socket_that_others_reach_is_asked_for_twice(
    tmp_path: Path, credentials: Path, listening: socket.socket
) -> None:
    """As with an address of ours: what was passed may be no more public than what was meant."""
    with socket.create_server(("0.0.0.0", 0)) as wide:
        options = ["--credential", str(credentials / "localhost"), "--bind", "fd://3", "--admin-bind", "fd://4"]
        line = refused(tmp_path, *options, sockets=(listening, wide))
        assert "or say --admin-public" in line
        with started(tmp_path, APP, *options, "--admin-public", sockets=[listening, wide]) as service:
            service.port()
            assert ask(port_of(wide), "/livez") == (200, "ok\n")


def test_systemd_itself_passes_the_socket(tmp_path: Path, credentials: Path, alice: ssl.SSLContext) -> None:
    """`systemd-socket-activate` is systemd's own: the first connection starts the server, and is answered."""
    import subprocess
    import sys

    from tests.support.admin import free_port
    from tests.support.server import ROOT
    from tests.support.tools import require

    activate, port = require("systemd-socket-activate"), free_port()
    serve = [
        sys.executable,
        "-m",
        "services",
        APP,
        "--credential",
        str(credentials / "localhost"),
        "--bind",
        "fd://https",
    ]
    process = subprocess.Popen(
        [activate, "--listen", f"127.0.0.1:{port}", "--fdname", "https", *serve],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert b"Listening" in process.stderr.readline()
        assert asked(port, alice)[0] == process.pid
    finally:
        process.kill()
        process.communicate()
