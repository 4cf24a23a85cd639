"""`Type=notify`: what a real datagram socket in systemd's place hears, of one process and of a supervisor of two."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.deploy._serving import APP, asked
from tests.support.manager import Manager, started
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
SECOND = 1_000_000


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    there = Manager(str(tmp_path / "notify"))
    yield there
    there.close()


def serving(credentials: Path, workers: str) -> list[str]:
    return [APP, "--credential", str(credentials / "localhost"), "--bind", "localhost:0", "--workers", workers]


@WORKERS
def test_the_life_of_a_service(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, manager: Manager, workers: str
) -> None:
    """READY when it answers, RELOADING with its moment and READY behind it, STOPPING once. Nothing else."""
    with started(tmp_path, *serving(credentials, workers), NOTIFY_SOCKET=manager.address) as service:
        ready = manager.next(20)
        assert ready == {"READY": "1", "STATUS": f"serving https://localhost:{service.port()}"}
        assert asked(service.port(), alice), "it answers from that moment on"

        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        service.signal(signal.SIGHUP)
        reloading = manager.next()
        assert reloading is not None
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert manager.next() == ready, "the reload is over"
        assert service.err.count(" reloaded ") == int(workers), "in every worker, before READY was said"

        service.signal(signal.SIGTERM)
        stopping = manager.next()
        assert stopping is not None
        assert stopping["STOPPING"] == "1"
        assert service.exit_code() == 0
        assert manager.next(0.1) is None


@WORKERS
def test_a_reload_that_is_refused(tmp_path: Path, credentials: Path, manager: Manager, workers: str) -> None:
    """It ends all the same, and the status says what came of it; the next one takes it back."""
    folder = tmp_path / "localhost"
    folder.mkdir(mode=0o700)
    for file in (credentials / "localhost").iterdir():
        (folder / file.name).touch(0o600)
        (folder / file.name).write_bytes(file.read_bytes())
    arguments = [APP, "--credential", str(folder), "--bind", "localhost:0", "--workers", workers]
    with started(tmp_path, *arguments, NOTIFY_SOCKET=manager.address) as service:
        ready = manager.wait_for("READY")
        whole = (folder / "tls.crt").read_bytes()
        (folder / "tls.crt").write_bytes(b"broken")
        service.signal(signal.SIGHUP)
        assert "RELOADING" in (manager.next() or {})
        assert "the last reload was refused" in manager.wait_for("READY")["STATUS"]
        (folder / "tls.crt").write_bytes(whole)
        service.signal(signal.SIGHUP)
        assert "RELOADING" in (manager.next() or {})
        assert manager.wait_for("READY") == ready


@pytest.mark.slow
@WORKERS
def test_the_watchdog_is_told_while_requests_are_answered(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, manager: Manager, workers: str
) -> None:
    """Several times in its time; not at all while a worker, the only one or one of two, does not answer; then again."""
    with started(
        tmp_path, *serving(credentials, workers), NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(3 * SECOND)
    ) as service:
        manager.wait_for("READY")
        port = service.port()
        assert manager.count("WATCHDOG", 3.2) >= 2
        with Line1(port, alice) as line:
            blocked = threading.Thread(target=lambda: line.get("/block?4", timeout=60))
            blocked.start()
            time.sleep(0.2)
            while manager.next(0.01) is not None:
                pass
            assert manager.count("WATCHDOG", 3.1) == 0, "nobody is told that all is well"
            blocked.join()
        manager.wait_for("WATCHDOG", 5)
        service.signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert service.exit_code() == 0


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_missed(tmp_path: Path, credentials: Path, manager: Manager) -> None:
    """By SIGSTOP: its process is there, and answers nobody. Killed, it is replaced, and the watchdog hears of that."""
    with started(
        tmp_path, *serving(credentials, "2"), NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(2 * SECOND)
    ) as service:
        manager.wait_for("READY")
        manager.wait_for("WATCHDOG")
        worker = next(
            child for child in psutil.Process(service.pid).children() if "spawn_main" in " ".join(child.cmdline())
        )
        worker.suspend()
        time.sleep(0.2)
        while manager.next(0.01) is not None:
            pass
        assert manager.count("WATCHDOG", 2.2) == 0
        worker.kill()
        manager.wait_for("WATCHDOG", 20)


def test_an_abstract_socket(tmp_path: Path, credentials: Path) -> None:
    """`@name`, as containers and user managers have it."""
    manager = Manager(f"@handclasp-test-{os.getpid()}")
    try:
        with started(tmp_path, *serving(credentials, "1"), NOTIFY_SOCKET=manager.address):
            manager.wait_for("READY")
    finally:
        manager.close()


def test_a_watchdog_of_another_process_is_not_ours(tmp_path: Path, credentials: Path, manager: Manager) -> None:
    with started(
        tmp_path,
        *serving(credentials, "1"),
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC=str(SECOND // 2),
        WATCHDOG_PID="1",
    ):
        manager.wait_for("READY")
        assert manager.count("WATCHDOG", 1.0) == 0


@WORKERS
def test_neither_workers_nor_applications_speak_for_the_service(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, manager: Manager, workers: str
) -> None:
    """What systemd says to the service stays with it: an application finds none of the variables."""
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(60 * SECOND)}
    with started(tmp_path, *serving(credentials, workers), **environment) as service:
        manager.wait_for("READY")
        _, names = asked(service.port(), alice)
        assert names == ""


def test_a_manager_that_is_gone_stops_nobody(
    tmp_path: Path, credentials: Path, alice: ssl.SSLContext, manager: Manager
) -> None:
    """A word that nobody hears is a line in the log."""
    manager.close()
    (tmp_path / "notify").unlink()
    with started(tmp_path, *serving(credentials, "1"), NOTIFY_SOCKET=manager.address) as service:
        assert asked(service.port(), alice)
        assert "the service manager was not told" in service.err
        assert "Traceback" not in service.err
