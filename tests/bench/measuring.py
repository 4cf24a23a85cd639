"""One run from its beginning to its end: programs built, credentials made, rounds run, with a bar on a terminal."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import loads, machine, report
from tests.bench.contestants import OURS
from tests.bench.credentials import Credentials
from tests.bench.rounds import Rounds
from tests.bench.servers import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tests.bench.comparison import Comparison
    from tests.bench.rounds import Plan


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """A kind of argument: above 0, and no more than an hour or so many."""

    def number(text: str) -> float:
        with suppress(ValueError):
            value = kind(text)
            if 0 < value <= 3600:
                return value
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0, up to 3600")

    return number


def run(plan: Plan, *, as_json: bool, keep: Callable[[Mapping[str, Any]], None] | None = None) -> int:
    """Measure and print, as a table or as JSON; return the exit code. `keep` is given what was found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    facts = machine.describe(machine.Cores.choose())
    try:
        comparisons = measure(plan)
    except (loads.NoLoadError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: no figures", file=sys.stderr)
        return 130
    notes = report.notes_on(comparisons, plan, machine.Cores.choose().caveat)
    document = report.as_document(facts, plan, comparisons, notes)
    if keep is not None:
        keep(document)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        console = Console()
        report.show(console if console.is_terminal else Console(width=140), facts, comparisons, notes)
    void = [f"{one.figure.title}: {one.void[OURS.name]}" for one in comparisons if OURS.name in one.void]
    for words in void:
        print(f"void: {words}", file=sys.stderr)
    return 1 if void else 0


def measure(plan: Plan) -> list[Comparison]:
    """Run it.

    Raises:
        NoLoadError: the load cannot be built.
        RuntimeError: no credentials.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    errors = Console(stderr=True)
    machine.raise_open_files()
    with (
        tempfile.TemporaryDirectory(prefix="handclasp-bench-") as name,
        machine.pinned(machine.Cores.choose().load),
        # Twice a second: the bar is drawn on the load's core.
        Progress(*columns, console=errors, refresh_per_second=2, disable=not errors.is_terminal, transient=True) as bar,
    ):
        folder = Path(name)
        task = bar.add_task("building the load", total=plan.steps)

        def step(text: str, done: int) -> None:
            bar.update(task, advance=done, description=text or None)

        loads.build(folder)
        credentials = Credentials.make(folder / "state")
        return Rounds(plan, Stage(credentials, folder), folder / "load", step).run()
