"""Runs the loads: interleaved rounds, so that whatever else the machine does falls on all contestants alike."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.comparison import Comparison, Sample
from tests.bench.contestants import STOCK, Contestant
from tests.bench.loads import LoadProcess, Outcome, VoidError
from tests.bench.machine import pinned
from tests.bench.running import Running, cores_of, started
from tests.bench.servers import Server, ServerFailedError, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.bench.figures import Figure

_SETTLE = 0.5
"""Seconds between the last answer and the weighing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and for how long."""

    figures: Sequence[Figure]
    rounds: int
    seconds: float
    warm_up: float

    def rounds_of(self, figure: Figure) -> int:
        return self.rounds if figure.rounds is None else min(figure.rounds, self.rounds)

    @property
    def steps(self) -> int:
        """How many times a load is measured, or a server weighed."""
        return sum(self.rounds_of(figure) * len(figure.contestants) for figure in self.figures)


class Rounds:
    """Measures everybody. `step` is told what comes next, and how many loads are done.

    Who fails is out of that figure, and said to be: the others go on.
    """

    def __init__(self, plan: Plan, stage: Stage, load: Path, step: Callable[[str, int], None]) -> None:
        self._plan = plan
        self._stage = stage
        self._program = load
        self._step = step

    def run(self) -> list[Comparison]:
        """Run all rounds of all figures. Servers are shared by the figures of one application, and end with them."""
        found = []
        for _, figures in groupby(self._plan.figures, key=lambda figure: figure.application):
            with Running(self._stage, self._step) as servers:
                found += [self._one(figure, servers) for figure in figures]
        return found

    def _one(self, figure: Figure, servers: Running) -> Comparison:
        comparison = Comparison(figure)
        for contestant in figure.contestants:
            missing = contestant.missing()
            if missing is not None:
                comparison.fail(contestant, missing)
        if figure.kind in ("idle", "start"):
            self._anew(comparison)
        else:
            self._steady(comparison, servers)
        return comparison

    def _steady(self, comparison: Comparison, servers: Running) -> None:
        """All servers and loads run from the first round to the last; those whose turn it is not sleep."""
        figure = comparison.figure
        with ExitStack() as stack:
            loads: dict[str, LoadProcess] = {}
            try:
                if figure.load_of:
                    comparison.offered = figure.load_of * self._capacity(figure, servers.of(figure, STOCK))
            except (ServerFailedError, VoidError) as error:
                for contestant in figure.contestants:
                    comparison.fail(contestant, f"what to offer is not known: {error}")
            for contestant in self._left(comparison):
                try:
                    load = self._load(comparison, servers.of(figure, contestant))
                    loads[contestant.name] = stack.enter_context(load)
                except (ServerFailedError, VoidError) as error:
                    comparison.fail(contestant, str(error))
            for contestant in self._turns(comparison):
                try:
                    outcome = loads[contestant.name].measure(self._plan.warm_up + self._plan.seconds * figure.seconds)
                except VoidError as error:
                    comparison.fail(contestant, str(error))
                else:
                    comparison.add(contestant, _sample(figure, outcome))

    def _anew(self, comparison: Comparison) -> None:
        """Each weighing has a server of its own: what a process has freed once it gives to the next connection."""
        figure = comparison.figure
        for contestant in self._turns(comparison):
            try:
                with started(self._stage, figure, contestant) as server:
                    begun = Sample(server.started * 1000)
                    sample = begun if figure.kind == "start" else self._weigh(comparison, server)
            except (VoidError, ServerFailedError) as error:
                comparison.fail(contestant, str(error))
            else:
                comparison.add(contestant, sample)

    def _left(self, comparison: Comparison) -> list[Contestant]:
        return [one for one in comparison.figure.contestants if one.name not in comparison.void]

    def _turns(self, comparison: Comparison) -> Iterator[Contestant]:
        """Who is first changes with each round."""
        figure = comparison.figure
        for number in range(self._plan.rounds_of(figure)):
            for contestant in figure.contestants if number % 2 == 0 else reversed(figure.contestants):
                if contestant.name not in comparison.void:
                    self._step(f"{figure.title}, round {number + 1}: {contestant.name}", 0)
                    yield contestant
                self._step("", 1)

    def _capacity(self, figure: Figure, server: Server) -> float:
        """Requests a second, as many as it can."""
        with self._load(Comparison(figure), server) as load:
            return median(load.measure(self._plan.seconds).rate for _ in range(3))

    def _weigh(self, comparison: Comparison, server: Server) -> Sample:
        figure = comparison.figure
        with self._load(comparison, server) as load:
            load.step("warm")
            before = server.resident()
            load.step("open", figure.connections / 50)
            time.sleep(_SETTLE)
            after = server.resident()
            outcome = load.measure(figure.connections / 50)
        return _sample(figure, outcome, (after - before) / figure.connections / 1024)

    def _load(self, comparison: Comparison, server: Server) -> LoadProcess:
        figure = comparison.figure
        options = {
            "kind": figure.kind,
            "protocol": figure.protocol,
            "port": server.port,
            "server-pids": ",".join(map(str, server.pids)),
            "credential": self._stage.credentials.client,
            "expect": server.contestant.body.decode(),
            "connections": figure.connections,
            "streams": figure.streams,
            "warm-up": f"{self._plan.warm_up}s",
            "window": f"{self._plan.seconds * (figure.seconds if comparison.offered else 1)}s",
            "rate": comparison.offered,
            **figure.ask,
        }
        with pinned(cores_of(figure, server.contestant).load):
            return LoadProcess(self._program, options)


def _sample(figure: Figure, outcome: Outcome, memory: float = 0.0) -> Sample:
    values = {"rate": outcome.rate / figure.scale, "p99": outcome.p99 * 1000, "memory": memory}
    return Sample(
        values[figure.value],
        outcome.rate_of_cpu / figure.scale if figure.value == "rate" else None,
        outcome.p50,
        outcome.p99,
        outcome.longest,
        outcome.load_share,
        outcome.server_share,
        outcome.tls,
    )
