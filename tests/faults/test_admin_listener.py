"""What probes are told: alive, ready, and when not; on this machine alone, and never instead of a certificate."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.admin import ask, free_port
from tests.support.issuer import SERVER
from tests.support.server import ROOT, eventually
from tests.support.trust import LOCALHOST, trusting

if TYPE_CHECKING:
    from pathlib import Path


def test_ready_and_alive(tmp_path: Path) -> None:
    """Both answer without a certificate; nothing else does, and the port with TLS knows none of them."""
    port = free_port()
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}", app="services.app:app") as there:
        assert ask(port, "/livez") == (200, "ok\n")
        assert ask(port, "/readyz") == (200, "ok\n")
        assert [ask(port, path)[0] for path in ("/", "/whoami", "/healthz", "/authority", "/livez/..")] == [404] * 5
        with there.client("tom").h2() as wire:
            assert [wire.get(path).status for path in ("/metrics", "/readyz", "/livez")] == [404] * 3


def test_a_page_that_has_its_name_lead_here_reads_nothing(tmp_path: Path) -> None:
    """DNS rebinding: what a browser asks for under a stranger's name is answered 421, over a port of this machine."""
    port = free_port()
    ours = ("localhost", f"localhost:{port}", "LOCALHOST.", "127.0.0.1:9443", "[::1]:9443", "a.localhost", "10.0.0.7")
    strangers = ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "x[::1]")
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}") as there:
        assert {ask(port, "/livez", {"host": host})[0] for host in ours} == {200}
        for path in ("/livez", "/readyz", "/metrics"):
            assert {ask(port, path, {"host": host})[0] for host in strangers} == {421}
        assert there.server.process.poll() is None
    path = tmp_path / "admin.sock"
    (tmp_path / "unix").mkdir()
    with trusting(tmp_path / "unix", "--admin-bind", f"unix:{path}"):  # no browser gets there
        assert ask(str(path), "/metrics", {"host": "evil.example"})[0] == 200


@pytest.mark.slow
def test_who_dawdles_keeps_no_probe_waiting(tmp_path: Path) -> None:
    """Heads that do not end, heads without end, bodies without end: each connection ends, and probes are answered."""
    port = free_port()
    head = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: "
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}") as there:
        dawdling = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
        for sock in dawdling:
            sock.sendall(head)
        assert ask(port, "/livez") == (200, "ok\n")
        for shouted in (
            head + b"a" * 200_000,
            b"POST /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999999999\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, suppress(OSError):
                sock.sendall(shouted)
                for _ in range(4_096):
                    sock.sendall(b"a" * 65_536)
                pytest.fail("it listens to everything")
        for sock in dawdling:
            with suppress(ConnectionError):
                assert sock.recv(65_536)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 408")
            sock.close()
        assert ask(port, "/livez") == (200, "ok\n")
        assert there.server.rss() < 300


def test_not_ready_while_draining(tmp_path: Path) -> None:
    """From the signal on it says so, and is alive, until the last request has ended."""
    port = free_port()
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}", "--graceful-timeout", "20s") as there:
        with there.client("tom").h2() as wire:
            asked = threading.Thread(target=lambda: wire.get("/sleep?s=2&tag=late", timeout=10))
            asked.start()
            eventually(lambda: there.server.stats("late")["active"] == 1)
            there.server.signal(signal.SIGTERM)
            eventually(lambda: ask(port, "/readyz") == (503, "draining: the server is about to stop\n"), 1.5)
            assert ask(port, "/livez") == (200, "ok\n")
            asked.join()
        assert there.server.exit_code() == 0
        with pytest.raises(OSError):
            ask(port, "/livez")


def test_not_ready_with_an_expired_credential(tmp_path: Path) -> None:
    """The moment it ends, and ready again with the next one, without a restart."""
    port = free_port()
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}") as there:
        ends_soon = there.issuer.issue(
            "localhost", san=LOCALHOST, purposes=(SERVER,), valid_for=timedelta(minutes=1, seconds=4)
        )
        there.put_pair(ends_soon)
        eventually(lambda: ask(port, "/readyz") == (503, "the server's credential has expired\n"), 10)
        there.put_pair(there.issue_server())
        eventually(lambda: ask(port, "/readyz") == (200, "ok\n"), 5)


@pytest.mark.slow
def test_ready_throughout_a_rolling_restart(tmp_path: Path) -> None:
    """The old worker drains, its successor answers: no probe is told anything else meanwhile."""
    port = free_port()
    with trusting(tmp_path, "--admin-bind", f"127.0.0.1:{port}", "--workers", "2") as there:
        eventually(lambda: ask(port, "/readyz")[0] == 200)
        # Somebody in the middle of a long request keeps the old workers draining.
        with there.client("tom").h2() as wire:
            asked = threading.Thread(target=lambda: wire.get("/sleep?s=3&tag=long", timeout=40))
            asked.start()
            there.server.signal(signal.SIGUSR2)
            answers = set()
            until = time.monotonic() + 20
            while len(there.server.log().split("worker replaced")) < 3 and time.monotonic() < until:
                answers.add(ask(port, "/readyz"))
                time.sleep(0.01)
            asked.join()
        assert answers == {(200, "ok\n")}
        there.server.logged("worker replaced", times=2)


def test_a_unix_socket(tmp_path: Path) -> None:
    """For this user and group alone; left behind by a server that was killed, it is made anew; at the end it goes."""
    path = tmp_path / "admin.sock"
    with trusting(tmp_path, "--admin-bind", f"unix:{path}") as there:
        assert ask(str(path), "/readyz") == (200, "ok\n")
        assert path.stat().st_mode & 0o777 == 0o660
        there.server.process.kill()
        there.server.process.wait()
    assert path.exists()
    with trusting(tmp_path / "again", "--admin-bind", f"unix:{path}") as there:
        assert ask(str(path), "/readyz") == (200, "ok\n")
        there.server.signal(signal.SIGTERM)
        assert there.server.exit_code() == 0
    assert not path.exists()


def _refused(tmp_path: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "services", "--credential", str(tmp_path / "none"), *options],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("bind", ["0.0.0.0:9443", "[::]:9443", "10.0.0.7:9443", "example.com:9443"])
def test_an_address_that_others_reach_is_asked_for_twice(tmp_path: Path, bind: str) -> None:
    assert _refused(tmp_path, "--admin-bind", bind) == (
        f"handclasp-serve: error: admin_bind: '{bind}' can be reached from other machines, and the admin listener asks "
        "nobody who they are: bind it to 127.0.0.1:PORT or unix:PATH, or say --admin-public"
    )


@pytest.mark.parametrize("bind", ["9443", "unix:", "localhost:x"])
def test_no_address_at_all(tmp_path: Path, bind: str) -> None:
    assert "admin_bind: " in _refused(tmp_path, "--admin-bind", bind)


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    """Nothing of the user's is removed."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with pytest.raises(AssertionError, match="no ready line"), trusting(tmp_path, "--admin-bind", f"unix:{precious}"):
        pass
    assert precious.read_text() == "mine"
