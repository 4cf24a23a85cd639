"""What becomes of several rounds: medians, spreads and ratios."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from tests.bench.contestants import OURS, Contestant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Sample:
    """One round on one server."""

    value: float
    per_cpu: float | None = None
    """The same for a second of the server's CPU time. None where time has no part in it."""
    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    """Seconds that an answer took."""
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
        lower, _, upper = quantiles(values, method="inclusive") if len(values) > 1 else list(values) * 3
        return cls(median(values), min(values), max(values), lower, upper)


@dataclass(slots=True)
class Comparison:
    """The rounds of one figure, by contestant. Round N of one is set against round N of another: they ran in turn."""

    figure: Figure
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    void: dict[str, str] = field(default_factory=dict)
    """Whose rounds say nothing, and why."""
    offered: float = 0.0
    """Requests a second that everybody was offered; 0: as many as each could answer."""

    def add(self, contestant: Contestant, sample: Sample) -> None:
        self.samples.setdefault(contestant.name, []).append(sample)

    def fail(self, contestant: Contestant, reason: str) -> None:
        """One wrong or missing answer: nothing that this server did in this figure counts."""
        self.samples.pop(contestant.name, None)
        self.void[contestant.name] = reason

    def has(self, contestant: Contestant) -> bool:
        return contestant.name in self.samples

    def spread(self, contestant: Contestant) -> Spread:
        return Spread.of([sample.value for sample in self.samples[contestant.name]])

    def ratio(self, other: Contestant) -> Spread | None:
        """Ours to the other's; or the other's to the base, where there is one. None where one of the two is void."""
        ratios = [above.value / below.value for above, below in self._pairs(other) if below.value]
        return Spread.of(ratios) if ratios else None

    def cpu_ratio(self, other: Contestant) -> Spread | None:
        """The ratio a second of the server's CPU time: less disturbed where others share the core."""
        ratios = [
            above.per_cpu / below.per_cpu for above, below in self._pairs(other) if above.per_cpu and below.per_cpu
        ]
        return Spread.of(ratios) if ratios else None

    def load_share(self, contestant: Contestant) -> float:
        """The part of its core that the load used, in the median."""
        return median(sample.load_share for sample in self.samples[contestant.name])

    def server_share(self, contestant: Contestant) -> float:
        """The part of its core that the server got, in the median."""
        return median(sample.server_share for sample in self.samples[contestant.name])

    def latency(self, contestant: Contestant, which: Literal["p50", "p99", "longest"]) -> float:
        """Seconds, in the median of the rounds; for the longest, in the worst of them."""
        values = [float(getattr(sample, which)) for sample in self.samples[contestant.name]]
        return max(values) if which == "longest" else median(values)

    def _pairs(self, other: Contestant) -> list[tuple[Sample, Sample]]:
        above, below = (OURS, other) if self.figure.base is None else (other, self.figure.base)
        return list(zip(self.samples.get(above.name, ()), self.samples.get(below.name, ()), strict=False))
