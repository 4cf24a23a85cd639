"""gRPC: our server against grpc.aio with mTLS, the same message, the same client, side by side in one run.

  python -m tests.bench.rpc [--rounds 7] [--calls 1500] [--messages 10000]

Ratios are of the rounds' own, our server first in every other round. A wrong answer ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc

from services.contracts.handclasp.greeter.v1.greeter_pb import (
    GreetRequest,
    GreetResponse,
    SayHelloRequest,
    SayHelloResponse,
)
from tests.bench import machine
from tests.bench.credentials import Credentials
from tests.bench.grpc_aio import SERVICE
from tests.bench.servers import OURS as SERVED
from tests.bench.servers import Contestant, running

EXPECTED = "Hello alice@example.com!"
CONNECTIONS, AT_ONCE = 4, 10

OURS = replace(SERVED, body=EXPECTED.encode())
THEIRS = Contestant("grpc.aio", lambda _, folder: ["-m", "tests.bench.grpc_aio", str(folder)], EXPECTED.encode())


def _channels(port: int, folder: Path) -> list[grpc.aio.Channel]:
    ca, key, chain = ((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    apart = [("grpc.use_local_subchannel_pool", 1)]  # a connection each
    return [grpc.aio.secure_channel(f"localhost:{port}", credentials, options=apart) for _ in range(CONNECTIONS)]


async def _unary(channels: list[grpc.aio.Channel], calls: int) -> float:
    """Calls a second."""
    left = calls

    async def ask(channel: grpc.aio.Channel) -> None:
        nonlocal left
        say_hello = channel.unary_unary(f"/{SERVICE}/SayHello", SayHelloRequest.to_binary, SayHelloResponse.from_binary)
        while left > 0:
            left -= 1
            answer = await say_hello(SayHelloRequest())
            assert answer.message == EXPECTED, answer.message

    begun = time.perf_counter()
    await asyncio.gather(*(ask(channel) for channel in channels for _ in range(AT_ONCE)))
    return calls / (time.perf_counter() - begun)


async def _stream(channel: grpc.aio.Channel, messages: int) -> float:
    """Messages a second."""
    greet = channel.unary_stream(f"/{SERVICE}/Greet", GreetRequest.to_binary, GreetResponse.from_binary)
    begun, seen = time.perf_counter(), 0
    async for answer in greet(GreetRequest(times=messages)):
        assert answer.message == EXPECTED, answer.message
        seen += 1
    assert seen == messages
    return messages / (time.perf_counter() - begun)


async def _measure(ports: dict[str, int], folder: Path, given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in ports} for kind in ("unary", "stream")}
    channels = {name: _channels(port, folder) for name, port in ports.items()}
    for name in ports:  # the handshakes, and the first calls, are not measured
        await _unary(channels[name], 200)
    for number in range(given.rounds):
        for name in list(ports) if number % 2 == 0 else list(reversed(ports)):
            found["unary"][name].append(await _unary(channels[name], given.calls))
            found["stream"][name].append(await _stream(channels[name][0], given.messages))
    for made in channels.values():
        for channel in made:
            await channel.close()
    return found


def main() -> int:
    """Measure and print JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rpc", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1_500)
    parser.add_argument("--messages", type=int, default=10_000)
    given = parser.parse_args()
    cores = machine.Cores.choose()
    with tempfile.TemporaryDirectory(prefix="handclasp-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        credentials = Credentials.make(folder / "state")
        ports = {
            who.name: stack.enter_context(
                running(who, "services.app:app", credentials.server, cores, folder / f"{who.name}.log")
            ).port
            for who in (OURS, THEIRS)
        }
        machine.pin(cores.load)
        found = asyncio.run(_measure(ports, credentials.client, given))
    document: dict[str, object] = {"machine": machine.describe(cores)}
    for kind, rounds in found.items():
        ratios = [ours / theirs for ours, theirs in zip(rounds["handclasp"], rounds["grpc.aio"], strict=True)]
        document[kind] = {
            "ratio": round(statistics.median(ratios), 2),
            **{name: round(statistics.median(values)) for name, values in rounds.items()},
        }
    print(json.dumps(document, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
