"""What trust that changes costs: the verdict at each request, a reload, a thousand ends, a list of a million.

  python -m tests.bench.trust             all figures
  python -m tests.bench.trust --json

The verdict is switched off for its half of the rounds by a server whose connections do not ask (in this process alone).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from pki.crl_signing import Entry, Reason, sign_list, to_pem
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile, ServerProfile
from pki.state import State
from tests.support.issuer import client_context
from tests.support.server import MIB, Server
from tests.support.wire import Ended, Wire

_WITHOUT = """
import sys
from services.transport.connection import Connection
Connection.is_vouched = lambda self: True
from services.cli import main
sys.argv = ["handclasp-serve", *sys.argv[1:]]
sys.exit(main())
"""


_TIMED = """
import atexit, signal, sys, time
from services.transport.connection import Connection
asked, spent, inner = 0, 0, Connection.is_vouched
def is_vouched(self):
    global asked, spent
    started = time.perf_counter_ns()
    found = inner(self)
    spent += time.perf_counter_ns() - started
    asked += 1
    return found
Connection.is_vouched = is_vouched
atexit.register(lambda: print(asked, spent, file=sys.stderr))
from services.cli import main
sys.argv = ["handclasp-serve", *sys.argv[1:]]
sys.exit(main())
"""
"""What being asked costs, by a clock around each question: the cost is smaller than the noise of the other way."""


class Bench:
    """An authority with a server's and a client's credential."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lifecycle = Lifecycle(State(folder / "state"))
        now = datetime.now(UTC)
        self.lifecycle.init("Bench CA", key=KeyType.P256, now=now)
        self.lifecycle.issue(Request(ServerProfile(), Names.parse("localhost", dns_names=["localhost"])), now=now)
        for name in ("alice", "mallory"):
            names = Names.parse(name, emails=[f"{name}@example.com"])
            self.lifecycle.issue(Request(ClientProfile(), names), now=now)
        self._number = 0

    def credential(self, name: str) -> Path:
        return self.folder / "state/credentials" / name

    def write_list(self, count: int) -> float:
        """A list of so many certificates and Mallory's, beside the server's; the seconds that it took."""
        self._number += 1
        now = datetime.now(UTC)
        mallory = self.lifecycle.entries(now=now, name="mallory")[0].certificate.serial
        entries = [Entry(secrets.randbits(159), now, Reason.SUPERSEDED) for _ in range(count)]
        entries.append(Entry(int(mallory, 16), now, Reason.KEY_COMPROMISE))
        started = time.monotonic()
        signed = sign_list(
            self.lifecycle.signer().authority,
            entries,
            number=self._number,
            this_update=now,
            next_update=now + timedelta(days=1),
        )
        self._beside.write_bytes(to_pem(signed))
        return time.monotonic() - started

    def put_list(self) -> None:
        """Give the server the list that was written."""
        self._beside.replace(self.credential("localhost") / "ca.crl")

    @property
    def _beside(self) -> Path:
        return self.folder / "ca.crl.new"

    def server(self) -> Server:
        return Server(self.folder, self.credential("localhost"), self.credential("alice"))

    def is_refused(self, port: int, name: str) -> bool:
        folder = self.credential(name)
        try:
            with Wire(port, client_context(folder, trust=folder / "ca.crt")) as wire:
                return wire.get().status != 200
        except (Ended, OSError):
            return True


def reload_with(bench: Bench, count: int) -> dict[str, Any]:
    """From the write of a list of so many to its being in force, and how long the event loop stood still."""
    bench.write_list(count)
    server = bench.server()
    try:
        port = server.port
        folder = bench.credential("alice")
        waits: list[float] = []
        stop = threading.Event()

        def ask() -> None:
            with Wire(port, client_context(folder, trust=folder / "ca.crt")) as wire:
                while not stop.is_set():
                    asked = time.monotonic()
                    wire.get()
                    waits.append(time.monotonic() - asked)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(1)
        quiet = max(waits)
        waits.clear()
        wrote = time.monotonic()
        bench.put_list()
        server.logged(" reloaded", timeout=60)
        in_force = time.monotonic() - wrote
        refused = bench.is_refused(port, "mallory")
        stop.set()
        thread.join()
        return {
            "entries": count,
            "in_force_seconds": round(in_force, 3),
            "longest_wait_quiet_ms": round(quiet * 1000, 1),
            "longest_wait_ms": round(max(waits) * 1000, 1),
            "refused": refused,
        }
    finally:
        server.stop()


def revocation(bench: Bench, connections: int = 1_000) -> dict[str, Any]:
    """From the write of a list to the end of so many connections of who is on it."""
    bench.write_list(0)
    (bench.credential("localhost") / "ca.crl").unlink(missing_ok=True)  # or Mallory does not get in
    server = bench.server()
    folder = bench.credential("mallory")
    context = client_context(folder, trust=folder / "ca.crt")
    process = psutil.Process(server.process.pid)
    with ExitStack() as stack:
        stack.callback(server.stop)
        wires = [stack.enter_context(Wire(server.port, context)) for _ in range(connections)]
        assert {wire.get().status for wire in wires} == {200}
        spent = sum(process.cpu_times()[:2])
        wrote = time.monotonic()
        bench.put_list()
        for wire in wires:
            with suppress(Ended):
                while True:
                    wire.frame(30)
        return {
            "connections": connections,
            "ended_seconds": round(time.monotonic() - wrote, 3),
            "cpu_seconds": round(sum(process.cpu_times()[:2]) - spent, 3),
        }


def million(bench: Bench) -> dict[str, Any]:
    """A list of a million: written by a process of its own, and a server that starts with it."""
    code = (
        "import sys, resource; from pathlib import Path; from tests.bench.trust import Bench;"
        "import tempfile; bench = Bench(Path(tempfile.mkdtemp(dir=sys.argv[1])));"
        "took = bench.write_list(1_000_000); bench.put_list();"
        "print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, bench.folder)"
    )
    command = [sys.executable, "-c", code, str(bench.folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    other = Bench.__new__(Bench)
    other.folder = Path(printed[2])
    started = time.monotonic()
    server = other.server()
    try:
        port = server.port
        return {
            "signed_and_written_seconds": round(float(printed[0]), 2),
            "peak_mib": round(int(printed[1]) / 1024),
            "server_start_seconds": round(time.monotonic() - started, 2),
            "server_mib": round(psutil.Process(server.process.pid).memory_info().rss / MIB),
            "alice_let_in": not other.is_refused(port, "alice"),
            "mallory_refused": other.is_refused(port, "mallory"),
        }
    finally:
        server.stop()


def verdict_cost(bench: Bench, rounds: int = 25, requests: int = 2_000) -> dict[str, Any]:
    """CPU time that a server spends on a request with the verdict and without it, in turns; the median of the rounds.

    CPU time and not the clock: two percent is less than what a shared machine's clock says twice of the same thing.
    """
    spent: dict[str, list[float]] = {"on": [], "off": []}
    folder = bench.credential("alice")
    context = client_context(folder, trust=folder / "ca.crt")
    with tempfile.TemporaryDirectory() as logs:
        commands = {
            "on": [sys.executable, "-m", "services"],
            "off": [sys.executable, "-c", _WITHOUT],
            "timed": [sys.executable, "-c", _TIMED],
        }
        arguments = ["--credential", str(bench.credential("localhost")), "--bind", "localhost:0", "--no-access-log"]
        running = {}
        for which, command in commands.items():
            with (Path(logs) / which).open("wb") as log:
                running[which] = subprocess.Popen(
                    [*command, *arguments],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=Path.cwd(),
                    env={**os.environ, "HANDCLASP_KEEP_ALIVE_TIMEOUT": "3600"},  # they wait for their turn
                )
        try:
            wires = {}
            for which, process in running.items():
                assert process.stdout is not None
                port = int(process.stdout.readline().partition("localhost:")[2].split()[0])
                wires[which] = Wire(port, context)
                _ask(wires[which], 1_000)
            for turn in range(rounds):
                for which in sorted(spent, reverse=bool(turn % 2)):
                    before = _cpu(running[which])
                    _ask(wires[which], requests)
                    spent[which].append((_cpu(running[which]) - before) / requests)
            _ask(wires["timed"], requests * rounds)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()
        asked, nanoseconds = map(int, (Path(logs) / "timed").read_text(encoding="utf-8").split()[-2:])
    on, off = (statistics.median(spent[which]) for which in ("on", "off"))
    ratios = sorted(with_it / without for with_it, without in zip(spent["on"], spent["off"], strict=True))
    return {
        "cpu_us_on": round(on * 1e6, 1),
        "cpu_us_off": round(off * 1e6, 1),
        "cost_percent": round((statistics.median(ratios) - 1) * 100, 2),
        "asked_per_request": round(asked / (requests * rounds + 1_000), 2),
        "us_per_question": round(nanoseconds / asked / 1000, 2),
        "cost_percent_quartiles": [round((ratios[len(ratios) * at // 4] - 1) * 100, 2) for at in (1, 3)],
    }


def _cpu(process: subprocess.Popen[str]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def _ask(wire: Wire, requests: int, at_once: int = 20) -> None:
    """Ask so often: batches of streams, all answered before the next."""
    for _ in range(requests // at_once):
        heads = [wire.head("/healthz") for _ in range(at_once)]
        wire.send(*heads)
        for head in heads:
            wire.reply(head.stream_id)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trust")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handclasp-bench-") as name:
        bench = Bench(Path(name))
        figures: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "verdict": verdict_cost(bench)}
        for count in (0, 100_000):
            figures[f"reload with {count:,}"] = reload_with(bench, count)
        figures["revocation"] = revocation(bench)
        figures["a million"] = million(bench)
    if given.json:
        print(json.dumps(figures, indent=2))
    else:
        for what, found in figures.items():
            print(f"{what}: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
