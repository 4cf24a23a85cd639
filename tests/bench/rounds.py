"""Runs the loads: interleaved rounds, so that whatever else the machine does falls on both contestants alike."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import Comparison, Figure, Sample
from tests.bench.loads import LoadProcess
from tests.bench.servers import Contestant, Server, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.credentials import Credentials
    from tests.bench.machine import Cores

_SETTLE = 0.5
"""Seconds between the last answer and the weighing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and for how long."""

    figures: Sequence[Figure]
    rounds: int
    seconds: float
    warm_up: float
    idle_rounds: int

    @property
    def steps(self) -> int:
        """How many times a load is measured, or a server weighed."""
        return sum(
            (self.idle_rounds if figure.load == "idle" else self.rounds) * len(figure.contestants)
            for figure in self.figures
        )


class Rounds:
    """Compares ours with the others. `step` is told what comes next, and how many loads are done."""

    def __init__(
        self, plan: Plan, credentials: Credentials, cores: Cores, logs: Path, step: Callable[[str, int], None]
    ) -> None:
        self._plan = plan
        self._credentials = credentials
        self._cores = cores
        self._logs = logs
        self._step = step
        self._comparisons = {figure.key: Comparison(figure) for figure in plan.figures}

    def run(self) -> list[Comparison]:
        """Run all rounds.

        Raises:
            VoidError: an answer was wrong or missing.
            ServerFailedError: a server did not start.
        """
        self._requests([figure for figure in self._plan.figures if figure.load != "idle"])
        self._memory([figure for figure in self._plan.figures if figure.load == "idle"])
        return list(self._comparisons.values())

    def _requests(self, figures: Sequence[Figure]) -> None:
        """All servers and loads run from the first round to the last; those whose turn it is not sleep."""
        with ExitStack() as stack:
            servers: dict[tuple[str, str], Server] = {}
            loads: dict[tuple[str, str], LoadProcess] = {}
            for figure in figures:
                for contestant in figure.contestants:
                    self._step(f"starting {contestant.name}", 0)
                    key = contestant.name, figure.application
                    if key not in servers:
                        servers[key] = stack.enter_context(self._running(contestant, figure.application))
                    loads[contestant.name, figure.key] = stack.enter_context(self._load(figure, servers[key]))
            for number in range(self._plan.rounds):
                for figure in figures:
                    for contestant in self._turns(number, figure):
                        self._timed(figure, contestant, loads[contestant.name, figure.key])

    def _memory(self, figures: Sequence[Figure]) -> None:
        """Each weighing has a server of its own: what a process has freed once it gives to the next connection."""
        for number in range(self._plan.idle_rounds):
            for figure in figures:
                for contestant in self._turns(number, figure):
                    with self._running(contestant, figure.application) as server:
                        self._weighed(figure, server)

    def _turns(self, number: int, figure: Figure) -> Iterator[Contestant]:
        """Who is first changes with each round."""
        for contestant in figure.contestants if number % 2 == 0 else reversed(figure.contestants):
            self._step(f"round {number + 1}: {figure.title}, {contestant.name}", 0)
            yield contestant
            self._step("", 1)

    def _running(self, contestant: Contestant, application: str) -> AbstractContextManager[Server]:
        log = self._logs / f"{contestant.name}-{application.rpartition(':')[2]}.log"
        return running(contestant, application, self._credentials.server, self._cores, log)

    def _timed(self, figure: Figure, contestant: Contestant, load: LoadProcess) -> None:
        outcome = load.measure(self._plan.warm_up + self._plan.seconds)
        sample = Sample(outcome.rate, outcome.rate_of_cpu, outcome.load_share, outcome.server_share, outcome.tls)
        self._comparisons[figure.key].add(contestant, sample)

    def _weighed(self, figure: Figure, server: Server) -> None:
        with self._load(figure, server) as load:
            load.step("warm")
            before = server.resident()
            load.step("open")
            time.sleep(_SETTLE)
            after = server.resident()
            outcome = load.measure()
        sample = Sample((after - before) / figure.connections / 1024, tls=outcome.tls)
        self._comparisons[figure.key].add(server.contestant, sample)

    def _load(self, figure: Figure, server: Server) -> LoadProcess:
        options = {
            "--port": server.port,
            "--server-pid": server.pid,
            "--credential": self._credentials.client,
            "--expect": server.contestant.body.decode(),
            "--connections": figure.connections,
            "--streams": figure.streams,
            "--warm-up": self._plan.warm_up,
            "--seconds": self._plan.seconds,
        }
        return LoadProcess(f"{figure.title}, {server.contestant.name}", figure.load, options)
