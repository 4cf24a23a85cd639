"""What is measured, and what becomes of several rounds: medians, spreads and ratios."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from tests.bench.servers import OURS, STOCK, STOCK_UVLOOP, Contestant

if TYPE_CHECKING:
    from collections.abc import Sequence

QUART = "tests.bench.app:quart_app"
BARE = "tests.bench.app:bare_app"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing to measure on ours and on the others. `target` is a ratio: ours to stock's, as that comes."""

    key: str
    title: str
    unit: str
    load: Literal["h1", "h2", "handshakes", "idle"]
    application: str
    connections: int
    target: float | None = None
    streams: int = 1
    smaller_is_better: bool = False
    others: tuple[Contestant, ...] = (STOCK,)

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        return OURS, *self.others

    def meets(self, other: Contestant, ratio: float) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None or other is not STOCK:
            return None
        return ratio <= self.target if self.smaller_is_better else ratio >= self.target


BOTH_WORKERS = (STOCK, STOCK_UVLOOP)

QUICK = (
    Figure("h2", "HTTP/2 requests, Quart", "/s", "h2", QUART, 8, target=1.7, streams=10, others=BOTH_WORKERS),
    Figure("h1", "HTTP/1.1 requests, Quart", "/s", "h1", QUART, 8, target=1.25, others=BOTH_WORKERS),
    Figure("connections", "new mTLS connections, Quart", "/s", "handshakes", QUART, 8, target=1.4, others=BOTH_WORKERS),
    Figure("h2-bare", "HTTP/2 requests, bare ASGI", "/s", "h2", BARE, 8, streams=10),
    Figure("h1-bare", "HTTP/1.1 requests, bare ASGI", "/s", "h1", BARE, 8),
    Figure(
        "memory",
        "memory per idle HTTP/2 conn.",
        "KiB",
        "idle",
        QUART,
        400,
        target=0.4,
        smaller_is_better=True,
        # asyncio's TLS holds a buffer of 256 KiB a connection, uvloop's only as much of it as was once used.
        others=BOTH_WORKERS,
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round on one server."""

    value: float
    per_cpu: float | None = None
    """The same for a second of the server's CPU time. None where time has no part in it."""
    load_share: float = 0.0
    server_share: float = 1.0
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Many rounds in five numbers: half of the rounds lie between the quartiles."""

    median: float
    low: float
    high: float
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        lower, _, upper = quantiles(values, method="inclusive") if len(values) > 1 else values * 3
        return cls(median(values), min(values), max(values), lower, upper)


@dataclass(slots=True)
class Comparison:
    """The rounds of one figure, by contestant. Round N of one is set against round N of another: they ran in turn."""

    figure: Figure
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def add(self, contestant: Contestant, sample: Sample) -> None:
        self.samples.setdefault(contestant.name, []).append(sample)

    def spread(self, contestant: Contestant) -> Spread:
        return Spread.of([sample.value for sample in self.samples[contestant.name]])

    def ratio(self, other: Contestant) -> Spread:
        """Ours to the other's."""
        return Spread.of([a.value / b.value for a, b in self._pairs(other)])

    def cpu_ratio(self, other: Contestant) -> Spread | None:
        """The ratio a second of the server's CPU time: less disturbed where others share the core."""
        ratios = [a.per_cpu / b.per_cpu for a, b in self._pairs(other) if a.per_cpu and b.per_cpu]
        return Spread.of(ratios) if ratios else None

    @property
    def load_share(self) -> float:
        """The highest part of its core that the load used."""
        return max(sample.load_share for samples in self.samples.values() for sample in samples)

    @property
    def server_share(self) -> float:
        """The part of its core that a loaded server got, in the median. Below 1 something else ran there."""
        return median(sample.server_share for samples in self.samples.values() for sample in samples)

    def _pairs(self, other: Contestant) -> list[tuple[Sample, Sample]]:
        return list(zip(self.samples[OURS.name], self.samples[other.name], strict=False))
