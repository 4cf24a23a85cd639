"""One run from its beginning to its end: programs built, credentials made, rounds run, with a bar on a terminal."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import loads, machine, report
from tests.bench.abilities import ask_all
from tests.bench.contestants import OURS
from tests.bench.credentials import Credentials
from tests.bench.rounds import Rounds
from tests.bench.servers import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from tests.bench.abilities import Abilities
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


@dataclass(frozen=True, slots=True)
class Found:
    """What one run has found."""

    plan: Plan
    facts: Mapping[str, str]
    comparisons: Sequence[Comparison]
    able: Mapping[str, Abilities]

    @property
    def caveats(self) -> list[str]:
        """What a reader has to keep in mind."""
        return report.caveats_of(self.comparisons, machine.Cores.choose().caveat)

    @property
    def notes(self) -> list[str]:
        return [*report.method_of(self.plan), *self.caveats]

    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        able = {name: asdict(one) for name, one in self.able.items()}
        return {**report.as_document(self.facts, self.plan, self.comparisons, self.notes), "abilities": able}

    def void(self) -> list[str]:
        """Which of our own figures say nothing, and why."""
        return [f"{one.figure.title}: {one.void[OURS.name]}" for one in self.comparisons if OURS.name in one.void]


def run(plan: Plan, *, as_json: bool, abilities: bool = False, keep: Callable[[Found], None] | None = None) -> int:
    """Measure and print, as tables or as JSON; return the exit code. `keep` is given what was found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    try:
        found = measure(plan, abilities)
    except (loads.NoLoadError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: no figures", file=sys.stderr)
        return 130
    if keep is not None:
        keep(found)
    if as_json:
        print(json.dumps(found.document(), indent=2))
    else:
        console = Console()
        report.show(console if console.is_terminal else Console(width=140), found.facts, found.comparisons, found.notes)
    for words in found.void():
        print(f"void: {words}", file=sys.stderr)
    return 1 if found.void() else 0


def measure(plan: Plan, abilities: bool) -> Found:
    """Run it, and ask what everybody can do where `abilities` says so.

    Raises:
        NoLoadError: the load cannot be built.
        RuntimeError: no credentials.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    errors = Console(stderr=True)
    machine.raise_open_files()
    cores = machine.Cores.choose()
    facts = machine.describe(cores)
    with (
        tempfile.TemporaryDirectory(prefix="handclasp-bench-") as name,
        machine.pinned(cores.load),
        # Twice a second: the bar is drawn on the load's core.
        Progress(*columns, console=errors, refresh_per_second=2, disable=not errors.is_terminal, transient=True) as bar,
    ):
        folder = Path(name)
        task = bar.add_task("building the load", total=plan.steps)

        def step(text: str, done: int) -> None:
            bar.update(task, advance=done, description=text or None)

        loads.build(folder)
        comparisons = Rounds(plan, _stage(folder, "rounds"), folder / "load", step).run()
        able = ask_all(_stage(folder, "abilities"), step) if abilities else {}
        return Found(plan, facts, comparisons, able)


def _stage(folder: Path, name: str) -> Stage:
    own = folder / name
    own.mkdir()
    return Stage(Credentials.make(own / "state"), own, programs=folder)
