"""Handclasp against stock Hypercorn, side by side in one run of under two minutes.

  python -m tests.bench.quick                    all figures, medians of 12 rounds
  python -m tests.bench.quick --figure h2        one of them (repeatable)
  python -m tests.bench.quick --json > quick.json

The answer is on stdout, progress on stderr. Exit 0 whatever the figures are; 1 where the run is void, because an answer
was wrong or missing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import machine, report
from tests.bench.credentials import Credentials
from tests.bench.figures import QUICK
from tests.bench.loads import VoidError
from tests.bench.rounds import Plan, Rounds
from tests.bench.servers import ServerFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.figures import Comparison

_IDLE_ROUNDS = 2
"""Each starts its servers anew, and memory scatters little."""


def _plan() -> tuple[Plan, bool]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.quick", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive(int), default=12, metavar="N", help="rounds a figure [12]")
    parser.add_argument("--seconds", type=_positive(float), default=0.25, metavar="S", help="measured a round [0.25]")
    parser.add_argument("--warm-up", type=_positive(float), default=0.05, metavar="S", help="before each round [0.05]")
    parser.add_argument("--figure", action="append", choices=[figure.key for figure in QUICK], help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    given = parser.parse_args()
    figures = [figure for figure in QUICK if given.figure is None or figure.key in given.figure]
    idle_rounds = min(given.rounds, _IDLE_ROUNDS)
    return Plan(figures, given.rounds, given.seconds, given.warm_up, idle_rounds), given.json


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        with suppress(ValueError):
            value = kind(text)
            if 0 < value <= 3600:
                return value
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0, up to 3600")

    return number


def _measure(plan: Plan, cores: machine.Cores) -> list[Comparison]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    errors = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="handclasp-bench-") as folder,
        # Twice a second: the bar is drawn on the load's core.
        Progress(*columns, console=errors, refresh_per_second=2, disable=not errors.is_terminal, transient=True) as bar,
    ):
        task = bar.add_task("making credentials", total=plan.steps)

        def step(text: str, done: int) -> None:
            bar.update(task, advance=done, description=text or None)

        credentials = Credentials.make(Path(folder) / "state")
        return Rounds(plan, credentials, cores, Path(folder), step).run()


def main() -> int:
    """Run it; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    plan, json = _plan()
    cores = machine.Cores.choose()
    facts = machine.describe(cores)
    machine.pin(cores.load)
    try:
        comparisons = _measure(plan, cores)
    except (VoidError, ServerFailedError, RuntimeError) as error:
        if json:
            print(report.void_as_json(facts, str(error)))
        print(f"void: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: no figures", file=sys.stderr)
        return 130
    notes = report.notes_on(comparisons, plan, cores.caveat)
    if json:
        print(report.as_json(facts, plan, comparisons, notes))
    else:
        console = Console()
        report.show(console if console.is_terminal else Console(width=120), facts, comparisons, notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
