"""Two replicas, one PostgreSQL, one HAProxy in TCP mode, callers: five hosts, as network namespaces.

A replica that is killed loses what it has in its hands, and nothing else; the client's retry covers that. One that is
stopped loses nothing.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.hosts import NETWORK, Hosts, hosts
from tests.support.postgresql import Server as PostgreSQL
from tests.support.server import ROOT, eventually
from tests.support.tools import ours, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
CALLERS = 8
TASKS = 4
"""Requests of each that are under way at once: `tests.deploy._callers`."""


class Process:
    """A program on a host; its output is a file."""

    def __init__(self, there: Hosts, host: str, folder: Path, *command: str, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        settings = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} | environment
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [*there.on(host), *command], cwd=ROOT, env=settings, stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text()

    def has_said(self, words: str) -> None:
        eventually(lambda: words in self.out, 40, lambda: f"{words}; the log:\n{self.err}")

    def end(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def ending(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


class Site:
    """The hosts, what is issued for them, and what runs on them."""

    def __init__(self, folder: Path, there: Hosts, database: str, stack: ExitStack) -> None:
        self.folder, self.there, self._database, self._stack = folder, there, database, stack
        self._starts = 0
        self.pki("init")
        self.pki("issue", "server", "service", "--ip", there.address("balancer"))
        self.callers = [f"caller-{number}" for number in range(CALLERS + 1)]
        for name in self.callers:
            self.pki("issue", "client", name, "--email", f"{name}@example.com")

    def pki(self, *words: str) -> None:
        """On the host of the database, by its socket there."""
        done = subprocess.run(
            [ours("handclasp-pki"), "--state", str(self.folder / "state"), "--database", self._database, *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def replica(self, name: str) -> Process:
        """A replica, with a copy of the authority's folder as a host of its own has it."""
        self._starts += 1
        state = self.folder / f"state-{name}-{self._starts}"
        shutil.copytree(self.folder / "state", state, symlinks=True)
        address = self.there.address(name)
        started = Process(
            self.there, name, self.folder / f"{name}-{self._starts}", sys.executable, "-m", "services",
            "tests.deploy._replica:app", "--credential", str(state / "credentials" / "service"),
            "--bind", f"{address}:8443", "--admin-bind", f"{address}:9443", "--admin-public",
            "--state", str(state), "--enrollment", "--no-access-log",
            REPLICA=name, HANDCLASP_ENROLLMENT_RATE="100000",
            HANDCLASP_DATABASE=f"postgresql+psycopg://handclasp@{self.there.address('database')}/site",
        )  # fmt: skip
        self._stack.enter_context(ending(started))
        started.has_said("Handclasp is ready")
        return started

    def balancer(self) -> Process:
        addresses = {f"REPLICA_{name.upper()}": self.there.address(name) for name in ("a", "b")}
        bind = f"{self.there.address('balancer')}:8443"
        command = (require("haproxy"), "-db", "-f", str(CONFIGURATION))
        balancer = Process(self.there, "balancer", self.folder / "haproxy", *command, BIND=bind, **addresses)
        self._stack.enter_context(ending(balancer))
        dial = f"import socket; socket.create_connection(('{self.there.address('balancer')}', 8443), 1)"
        command = (*self.there.on("callers"), sys.executable, "-c", dial)
        dialled = partial(subprocess.run, command, capture_output=True, check=False)
        eventually(lambda: not dialled().returncode, 20, lambda: balancer.err)
        return balancer

    def call(self) -> Process:
        """Callers begin to ask, and one of them to renew, until ended by SIGTERM."""
        folders = [str(self.folder / "state" / "credentials" / name) for name in self.callers]
        url = f"https://{self.there.address('balancer')}:8443"
        command = (sys.executable, "-m", "tests.deploy._callers", url, *folders)
        self._starts += 1
        calling = Process(self.there, "callers", self.folder / f"callers-{self._starts}", *command)
        self._stack.enter_context(ending(calling))
        calling.has_said("calling")
        return calling


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("haproxy")
    require("postgresql")
    with ExitStack() as stack:
        there = stack.enter_context(hosts(balancer=10, a=11, b=12, database=13, callers=14))
        database = PostgreSQL.start(there.on("database"), there.address("database"), f"{NETWORK}.0/24")
        stack.callback(database.stop)
        database.execute("CREATE DATABASE site")
        yield Site(tmp_path, there, database.url("site"), stack)


def test_a_replica_is_killed_and_another_one_stopped(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL: at most what it had in its hands is lost, and the client asks again. SIGTERM: nothing is lost at all."""
    first, second = site.replica("a"), site.replica("b")
    site.balancer()

    calling = site.call()
    time.sleep(4)
    killed_at = time.time()
    first.end(signal.SIGKILL)
    time.sleep(3)
    site.replica("a")  # it comes back, and is given new connections
    time.sleep(3)
    assert calling.end() == 0, calling.err
    killed = json.loads(calling.out.splitlines()[-1])
    with capsys.disabled():
        print(f"\nkilled:  {_figures(killed)}")
    assert killed["failed"] == [], "no request fails"
    assert all(replica == "a" for _, replica in killed["lost"]), "the other replica has lost none"
    assert all(killed_at - 0.5 <= when < killed_at + 2.5 for when, _ in killed["lost"]), "at that moment"
    assert 0 < len(killed["lost"]) <= CALLERS * TASKS, "those in its hands"
    assert all(killed["answered"].get(replica, 0) > 100 for replica in ("a", "b"))
    assert killed["renewed"] > 10

    calling = site.call()
    time.sleep(3)
    assert second.end() == 0, second.err
    time.sleep(2)
    assert calling.end() == 0, calling.err
    stopped = json.loads(calling.out.splitlines()[-1])
    with capsys.disabled():
        print(f"stopped: {_figures(stopped)}")
    assert stopped["failed"] == []
    assert stopped["lost"] == [], "a replica that is stopped loses nothing"
    assert stopped["renewals_lost"] == 0


def _figures(found: dict) -> str:
    by = ", ".join(f"{count} by {replica}" for replica, count in sorted(found["answered"].items()))
    return (
        f"{sum(found['answered'].values())} requests answered ({by}), {len(found['lost'])} attempts lost and made "
        f"again, {len(found['failed'])} requests failed; slowest {found['slowest']:.2f} s; "
        f"{found['renewed']} renewals, {found['renewals_lost']} lost and made again"
    )
