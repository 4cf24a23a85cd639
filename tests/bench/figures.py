"""What is measured, on whom, and which ratio is aimed at: all as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from services.contracts.handclasp.greeter.v1.greeter_pb import GreetRequest, GreetResponse, SayHelloResponse
from tests.bench import app
from tests.bench import contestants as who
from tests.bench.contestants import OURS, STOCK, Contestant, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

QUART = "tests.bench.app:quart_app"
BARE = "tests.bench.app:bare_app"
RPC = "services.app:app"

Kind = Literal["requests", "handshakes", "idle", "start"]
Value = Literal["rate", "p99", "memory", "start"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing to measure on several servers, in turns."""

    key: str
    title: str
    unit: str
    kind: Kind
    protocol: Protocol
    application: str
    contestants: tuple[Contestant, ...]
    connections: int = 8
    streams: int = 1
    value: Value = "rate"
    ask: Mapping[str, object] = field(default_factory=dict)
    """What is asked for, in the load's words; a greeting where nothing is said."""
    scale: float = 1.0
    """What one unit is made of: 10^6 bytes are a megabyte."""
    base: Contestant | None = None
    """Ratios are to this one; None: each is ours to another's."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """By contestant: which ratio is aimed at, at least; or at most, where smaller is better."""
    load_of: float = 0.0
    """The part of what stock Hypercorn can answer that everybody is offered; 0: as much as each can."""
    shared: bool = False
    """The load runs on the server's cores."""
    answers_within: float = 0.0
    """Seconds in which each of the idle connections is to answer; 0: nothing is said."""
    rounds: int | None = None
    """Fewer than the others have, where one takes long."""
    seconds: float = 1.0
    """Times as long as the others' window."""

    @property
    def smaller_is_better(self) -> bool:
        return self.value != "rate"

    @property
    def others(self) -> tuple[Contestant, ...]:
        """Those that a ratio speaks of."""
        return tuple(one for one in self.contestants if one not in (OURS, self.base))

    def meets(self, other: Contestant, ratio: float) -> bool | None:
        """Whether the target is met, to the two digits that both are said with; None where there is none."""
        target = self.targets.get(other.name)
        if target is None:
            return None
        return round(ratio, 2) <= target if self.smaller_is_better else round(ratio, 2) >= target


_STOCK, _LOOP = (STOCK, who.STOCK_UVLOOP), who.OPENSSL
_H1 = (OURS, *_STOCK, who.UVICORN, who.GRANIAN)
_H2 = (OURS, *_STOCK, who.UVICORN_ZTTP, who.GRANIAN)
_COSTS = (who.WITH_NOTHING, who.WITH_IDENTITY, who.WITH_GUARD, who.WITH_AUDIT, who.WITH_METRICS, who.WITH_ALL)
_MOVERS = (OURS, STOCK, who.UVICORN_ZTTP, who.GRANIAN, who.GO)
MESSAGES = 10_000
_hello = app.BY_PEER.decode()
_reply = SayHelloResponse(message=_hello).to_binary().hex()
DOWN = {"path": "/download", "download": app.BODY_BYTES}
_UP = {"path": "/upload", "upload": app.BODY_BYTES, "expect": app.BODY_BYTES}


def _to_stock(ratio: float) -> dict[str, float]:
    return {STOCK.name: ratio}


def _moving(key: str, title: str, protocol: Protocol, ask: Mapping[str, object], target: float | None) -> Figure:
    servers = _MOVERS if protocol == "h2" else tuple(who.UVICORN if one is who.UVICORN_ZTTP else one for one in _MOVERS)
    targets = {} if target is None else _to_stock(target)
    return Figure(
        key, title, "MB/s", "requests", protocol, BARE, servers, connections=2, ask=ask, scale=1e6, targets=targets
    )


REQUESTS = (
    Figure("h2", "HTTP/2 requests, Quart", "/s", "requests", "h2", QUART, _H2, streams=10, targets=_to_stock(2.5)),
    Figure("h1", "HTTP/1.1 requests, Quart", "/s", "requests", "h1", QUART, _H1, targets=_to_stock(2.0)),
    Figure(
        "h2-bare",
        "HTTP/2 requests, bare ASGI",
        "/s",
        "requests",
        "h2",
        BARE,
        (*_H2, who.GO),
        streams=10,
        targets=_to_stock(3.0),
    ),
    Figure(
        "h1-bare",
        "HTTP/1.1 requests, bare ASGI",
        "/s",
        "requests",
        "h1",
        BARE,
        (*_H1, who.AIOHTTP, who.GO),
        targets=_to_stock(2.0),
    ),
    Figure(
        "connections",
        "new mTLS connections, one request each",
        "/s",
        "handshakes",
        "h1",
        BARE,
        (*_H1, who.AIOHTTP, who.GO, _LOOP),
        targets={STOCK.name: 2.2, who.UVICORN.name: 1.6, _LOOP.name: 0.75},
    ),
)

LATENCY = (
    Figure(
        "p99",
        "p99 of HTTP/2 requests, Quart, at 70% of what stock can",
        "ms",
        "requests",
        "h2",
        QUART,
        (OURS, STOCK, who.UVICORN_ZTTP, who.GRANIAN),
        streams=10,
        value="p99",
        targets=_to_stock(0.6),
        load_of=0.7,
        seconds=4,
    ),
)

BODIES = (
    _moving("download-h2", "10 MB down, HTTP/2", "h2", DOWN, 2.0),
    _moving("download-h1", "10 MB down, HTTP/1.1", "h1", DOWN, 2.0),
    _moving("upload-h2", "10 MB up, HTTP/2", "h2", _UP, None),
    _moving("upload-h1", "10 MB up, HTTP/1.1", "h1", _UP, None),
)


_CALL = {"path": "/handclasp.greeter.v1.GreeterService/SayHello", "grpc-reply": _reply, "grpc-replies": 1}
_STREAM = {
    "path": "/handclasp.greeter.v1.GreeterService/Greet",
    "grpc-message": GreetRequest(times=MESSAGES).to_binary().hex(),
    "grpc-reply": GreetResponse(message=_hello).to_binary().hex(),
    "grpc-replies": MESSAGES,
}
_BOTH = (OURS, who.GRPC)

CALLS = (
    Figure(
        "grpc",
        "gRPC calls, unary",
        "/s",
        "requests",
        "h2",
        RPC,
        _BOTH,
        streams=10,
        ask=_CALL,
        targets={who.GRPC.name: 1.3},
    ),
    Figure(
        "grpc-stream",
        f"gRPC, streams of {MESSAGES:,} messages",
        "messages/s",
        "requests",
        "h2",
        RPC,
        _BOTH,
        connections=2,
        ask=_STREAM,
        rounds=3,
    ),
)

START = (
    Figure(
        "start",
        "start of the process to the first answer",
        "ms",
        "start",
        "h1",
        QUART,
        (OURS, STOCK, who.UVICORN, who.GRANIAN, who.AIOHTTP, who.GO),
        value="start",
    ),
)

COSTS = (
    Figure(
        "costs",
        "HTTP/2 requests, Quart, with what is on",
        "/s",
        "requests",
        "h2",
        QUART,
        _COSTS,
        streams=10,
        base=who.WITH_NOTHING,
        targets={who.WITH_ALL.name: 0.93},
    ),
    Figure(
        "workers",
        "HTTP/2 requests, Quart, two workers on two cores to one on one, the load on the same cores",
        "/s",
        "requests",
        "h2",
        QUART,
        (who.ONE_WORKER, who.TWO_WORKERS),
        connections=32,
        streams=4,
        base=who.ONE_WORKER,
        targets={who.TWO_WORKERS.name: 1.8},
        shared=True,
    ),
)


def _memory(connections: int, rounds: int, answers_within: float = 0.0) -> Figure:
    return Figure(
        f"memory-{connections}",
        f"memory per idle HTTP/2 connection, of {connections:,}",
        "KiB",
        "idle",
        "h2",
        QUART,
        (OURS, STOCK, who.UVICORN_ZTTP, who.GRANIAN, who.GO),
        connections=connections,
        value="memory",
        targets={STOCK.name: 0.25, who.GO.name: 1.5},
        answers_within=answers_within,
        rounds=rounds,
    )


_ALL = (*REQUESTS[:2], *LATENCY, *COSTS, *START, *REQUESTS[2:], *BODIES, *CALLS)
"""Those of one application one after the other: they share their servers."""

WHOLE = (*_ALL, _memory(1_000, 2), _memory(10_000, 1, 0.05))
_ALONE = (OURS, *_STOCK)
"""The two who need nothing beyond what the project itself needs, but the load."""

AGAINST_STOCK = tuple(
    replace(one, contestants=tuple(them for them in one.contestants if them in _ALONE))
    for one in (*REQUESTS, _memory(400, 1))
)


def narrowed(one: Figure, names: Collection[str]) -> Figure:
    """Beside these alone."""
    left = tuple(them for them in one.contestants if them.name in names or them in (OURS, one.base))
    return replace(one, contestants=left)


def _quickly(one: Figure) -> Figure:
    """Fewer servers, and a single round where each one starts them anew."""
    left = (who.WITH_NOTHING, who.WITH_ALL) if one.key == "costs" else one.contestants
    servers = tuple(them for them in left if them is not who.STOCK_UVLOOP)
    return replace(one, contestants=servers, rounds=1 if one.kind in ("start", "idle") else one.rounds)


QUICK = tuple(_quickly(one) for one in (*_ALL, _memory(400, 1)) if one.key != "upload-h1")
