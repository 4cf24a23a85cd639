"""The authority: how fast it issues, and that looking a certificate up does not depend on how many are revoked.

  taskset -c 1 python -m tests.bench.pki             all figures, on one core
  python -m tests.bench.pki --folder /var/tmp        on another disk: what a new file costs is the disk's
  python -m tests.bench.pki --json > pki.json

Issuing is `handclasp-pki issue client --from` from its start to its end: reading the file, key generation, signatures,
rows, credential folders, and all of it on the disk. The answer is on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from pki.inventory.database import Database
from pki.inventory.schema import certificates
from pki.inventory.store import Inventory

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("handclasp-pki")
_FEW = 10
_LOOKUPS = 2000
_AT_ONCE = 20_000


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.pki", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leaves", type=int, default=10_000, metavar="N", help="issued in bulk [10000]")
    parser.add_argument("--commands", type=int, default=9, metavar="N", help="single issues from the shell [9]")
    parser.add_argument(
        "--revoked", type=int, default=1_000_000, metavar="N", help="revoked in the inventory [1000000]"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to work [the folder for temporary files]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handclasp-bench-", dir=given.folder) as name:
        folder = Path(name)
        figures = {
            "cores": len(os.sched_getaffinity(0)),
            "bulk": _bulk(folder / "bulk", given.leaves),
            "single": _single(folder / "single", given.commands),
            "look_up": {str(count): _look_up(folder / str(count), count) for count in (_FEW, given.revoked)},
        }
    if given.json:
        print(json.dumps(figures, indent=2))
        return 0
    bulk, single, few, many = figures["bulk"], figures["single"], *figures["look_up"].values()
    rates = f"{bulk['leaves_per_second']:,.0f} leaves/s, {bulk['leaves_per_cpu_second']:,.0f} a second of CPU"
    print(f"bulk: {rates} ({bulk['leaves']:,} in {bulk['seconds']:.2f} s)")
    print(f"one `handclasp-pki issue`: {single['median']:.3f} s ({single['lowest']:.3f} - {single['highest']:.3f})")
    for count, one in ((_FEW, few), (given.revoked, many)):
        print(f"look-up with {count:>9,} revoked: {one['microseconds']:,.0f} microseconds")
    return 0


def _pki(state: Path, *words: str) -> float:
    """Run a command; how many seconds it took."""
    started = time.perf_counter()
    subprocess.run([COMMAND, "--state", state, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _cpu_seconds() -> float:
    """What the commands have used so far: beside a busy neighbour, the clock on the wall measures the neighbour."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bulk(folder: Path, leaves: int) -> dict[str, Any]:
    folder.mkdir()
    people = folder / "people.csv"
    with people.open("w", encoding="utf-8") as file:
        file.write("name,email\n")
        file.writelines(f"p{number},p{number}@example.com\n" for number in range(leaves))
    _pki(folder / "state", "init")
    _say(f"issuing {leaves:,}")
    before = _cpu_seconds()
    seconds = _pki(folder / "state", "issue", "client", "--from", str(people))
    cpu = _cpu_seconds() - before
    return {
        "leaves": leaves,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "leaves_per_second": leaves / seconds,
        "leaves_per_cpu_second": leaves / cpu,
    }


def _single(folder: Path, commands: int) -> dict[str, Any]:
    folder.mkdir()
    _pki(folder / "state", "init")
    _say(f"issuing {commands}, a command each")
    times = [
        _pki(folder / "state", "issue", "client", f"p{number}", "--email", "p@example.com")
        for number in range(commands + 1)
    ][1:]  # the first one may compile what it imports
    return {"median": statistics.median(times), "lowest": min(times), "highest": max(times)}


def _look_up(folder: Path, count: int) -> dict[str, Any]:
    """The time to find one certificate, and whether it is revoked, among so many that are."""
    folder.mkdir()
    _say(f"revoking {count:,}")
    with Inventory.create(Database.in_folder(folder)) as inventory:
        rows = _revoked(count)
        while some := list(islice(rows, _AT_ONCE)):
            with inventory.transaction() as work:
                work._connection.execute(insert(certificates), some)
        step = max(1, count // _LOOKUPS)
        wanted = [_serial(number) for number in range(0, count, step)] * max(1, _LOOKUPS // count)
        with inventory.reading() as work:
            work.certificates.get(_serial(0))
            started = time.perf_counter()
            for serial in wanted:
                row = work.certificates.get(serial)
                assert row is not None
                assert row.state == "revoked"
            seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return {"revoked": count, "microseconds": seconds / len(wanted) * 1e6}


def _serial(number: int) -> str:
    # Spread over all of their range, as random ones are.
    return format((number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B % 2**159, "x")


def _revoked(count: int) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    moment, end = int(now.timestamp()), int((now + timedelta(days=7)).timestamp())
    for number in range(count):
        yield {
            "serial": _serial(number),
            "name": f"p{number}",
            "profile": "client",
            "sans": '{"emails":["p@example.com"],"uris":[],"dns_names":[],"ip_addresses":[]}',
            "key": "p256",
            "sha256": f"{number:064x}",
            "spki_sha256": f"{number:064x}",
            "not_before": moment,
            "not_after": end,
            "issuer": "0" * 64,
            "issued_at": moment,
            "requested_by": "bench",
            "state": "revoked",
            "reason": "keyCompromise",
            "revoked_at": moment,
            "shown_expired": False,
        }


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
