"""Workers are replaced one by one, each only when its successor serves: no request is lost, whatever goes wrong."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.load import Tally, hammer
from tests.support.server import eventually
from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def load(there: Trusting, requests: int) -> Tally:
    context, tally = there.client("xavier").context("h2"), Tally()
    asyncio.run(
        hammer(lambda: there.server.port, lambda: context, tally, total=requests, connections=6, streams=5, share=300)
    )
    return tally


def test_sigusr2_under_load(tmp_path: Path) -> None:
    """Twice over, while six connections ask: nothing fails, and every worker is another one."""
    with trusting(tmp_path, "--workers", "2") as there:
        before = there.server.workers()
        there.server.signal(signal.SIGUSR2)
        tally = load(there, 4_000)
        assert not tally.failed, tally.failed[:3]
        there.server.logged("worker replaced", times=2, timeout=30)
        eventually(lambda: len(there.server.workers()) == 2 and not there.server.workers() & before)
        there.server.signal(signal.SIGUSR2)
        tally = load(there, 4_000)
        assert not tally.failed, tally.failed[:3]
        there.server.logged("worker replaced", times=4, timeout=30)


def test_after_so_many_requests(tmp_path: Path) -> None:
    """--max-requests: a worker that has answered as many has a successor; also where there is one alone."""
    with trusting(tmp_path, "--max-requests", "1000") as there:
        before = there.server.workers()
        assert len(before) == 1
        for _ in range(3):
            tally = load(there, 1_200)
            assert not tally.failed, tally.failed[:3]
        there.server.logged("worker replaced", timeout=30)
        eventually(lambda: not there.server.workers() & before)


def test_a_successor_that_does_not_start(tmp_path: Path) -> None:
    """A credential that was broken meanwhile: the workers that serve go on, and the log says so."""
    with trusting(tmp_path, "--workers", "2") as there:
        before = there.server.workers()
        (there.credential / "tls.crt").write_bytes(b"broken")
        there.server.signal(signal.SIGUSR2)
        there.server.logged("restart given up", timeout=30)
        assert there.server.workers() == before
        tally = load(there, 200)
        assert not tally.failed


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """By SIGKILL; the other one serves meanwhile."""
    with trusting(tmp_path, "--workers", "2") as there:
        before = there.server.workers()
        time.sleep(1.1)  # one that lived shorter is replaced a second later
        psutil.Process(min(before)).kill()
        there.server.logged("worker died")
        yvonne = there.client("yvonne")
        with yvonne.h1() as line:
            assert line.get().status == 200
        eventually(lambda: len(there.server.workers()) == 2 and min(before) not in there.server.workers(), 20)


def test_one_worker_has_nobody_to_restart_it(tmp_path: Path) -> None:
    """SIGUSR2 is answered by a line in the log, not by death."""
    with trusting(tmp_path) as there:
        there.server.signal(signal.SIGUSR2)
        there.server.logged("use --workers 2")
        with there.client("zoe").h1() as line:
            assert line.get().status == 200
