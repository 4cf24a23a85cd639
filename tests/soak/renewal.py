"""A client whose certificate lives a minute, under load: it renews itself, and no request fails.

  python -m tests.soak.renewal [--seconds 300] [--life 60] [--workers 4]

Both kinds of session and both HTTP versions ask without a pause, GET and gRPC or Connect, while AutoRenew keeps the
credential alive. It ends by itself; the exit code is 1 where a request failed, or no renewal took place.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from clients import http1, http2
from clients.errors import ClientError
from clients.renewal import AsyncAutoRenew
from clients.rpc import Method
from services.contracts.handclasp.greeter.v1.greeter_pb import SayHelloRequest, SayHelloResponse
from tests.support.authority import Authority

SAY_HELLO = Method.of("handclasp.greeter.v1.GreeterService/SayHello", SayHelloRequest, SayHelloResponse)


async def load(url: str, folder: Path, seconds: float, workers: int) -> tuple[Counter[str], set[str]]:
    """Ask for so long; how often each outcome was had, and the serial numbers that the server saw."""
    outcomes: Counter[str] = Counter()
    serials: set[str] = set()
    until = time.monotonic() + seconds

    async def ask(session: Any) -> None:
        while time.monotonic() < until:
            try:
                serials.add((await session.whoami()).serial)
                await session.unary(SAY_HELLO, SayHelloRequest())
                outcomes["answered"] += 2
            except ClientError as error:
                outcomes[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.1)

    async with (
        http2.AsyncClient(url, folder) as renewing,
        http2.AsyncClient(url, folder) as new,
        http1.AsyncClient(url, folder) as old,
        AsyncAutoRenew(renewing),
    ):
        await asyncio.gather(*(ask((new, old)[number % 2]) for number in range(workers)))
    return outcomes, serials


def run(folder: Path, seconds: float, life: int, workers: int) -> tuple[Counter[str], set[str]]:
    """Have an authority and a server, and the load."""
    authority = Authority(folder)
    with authority.serving("--enrollment-lifetime", f"{life}s", HANDCLASP_ENROLLMENT_RATE="100") as server:
        url = f"https://localhost:{server.port}"
        with http2.Client(url, authority.alice) as session:
            session.renew()  # the first one that lives so short
        return asyncio.run(load(url, authority.alice, seconds, workers))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--life", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, serials = run(Path(folder), options.seconds, options.life, options.workers)
    failed = {what: count for what, count in outcomes.items() if what != "answered"}
    print(
        f"{outcomes['answered']:,} requests answered, {sum(failed.values())} failed, {len(serials)} certificates seen"
    )
    for what, count in failed.items():
        print(f"  {count} times {what}")
    return 1 if failed or len(serials) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
