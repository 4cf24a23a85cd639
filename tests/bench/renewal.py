"""How many certificates a second a server renews: `Renew` over mTLS, the inventory in SQLite, one worker.

  python -m tests.bench.renewal [--calls 1000] [--at-once 8]

The signing requests are made before the clock starts: that is the callers' work. `cpu` is what the server spent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import psutil

from clients import http2
from clients.rpc import Method
from services.contracts.handclasp.enrollment.v1.enrollment_pb import RenewRequest, RenewResponse
from tests.support.authority import Authority, csr

RENEW = Method.of("handclasp.enrollment.v1.EnrollmentService/Renew", RenewRequest, RenewResponse)


async def renew(url: str, folder: Path, calls: int, at_once: int) -> float:
    """Seconds that so many renewals took."""
    requests = [RenewRequest(csr=csr()) for _ in range(calls)]
    async with http2.AsyncClient(url, folder) as session:
        await session.unary(RENEW, RenewRequest(csr=csr()))

        async def work() -> None:
            while requests:
                answer = await session.unary(RENEW, requests.pop())
                assert answer.issued is not None

        begun = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return time.perf_counter() - begun


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.renewal")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handclasp-bench-") as folder:
        authority = Authority(Path(folder))
        with authority.serving("--no-access-log", HANDCLASP_ENROLLMENT_RATE="1000000") as server:
            process = psutil.Process(server.process.pid)
            before = sum(process.cpu_times()[:2])
            seconds = asyncio.run(
                renew(f"https://localhost:{server.port}", authority.alice, options.calls, options.at_once)
            )
            spent = sum(process.cpu_times()[:2]) - before
    print(
        f"{options.calls:,} renewals in {seconds:.2f} s: {options.calls / seconds:.0f} a second, "
        f"{options.calls / spent:.0f} a second of the server's cpu"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
