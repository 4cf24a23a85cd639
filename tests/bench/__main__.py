"""Handclasp beside other servers, side by side in one run: `just bench`.

  just bench                      everything, in under 15 minutes
  just bench --quick              in under 2 minutes: fewer and shorter rounds
  just bench --figure h2 --figure memory-1000 --against 'stock hypercorn'
  just bench --list               what can be measured

Tables are on stdout, progress on stderr; bench.json has every round. Exit 0 whatever the figures are; 1 where one of
Handclasp's own is void, because an answer was wrong or missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import figures, plots
from tests.bench.measuring import positive, run
from tests.bench.page import page
from tests.bench.rounds import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.measuring import Found


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers = list(dict.fromkeys(one.name for figure in figures.WHOLE for one in figure.contestants))
    known = {figure.key: figure.title for figure in (*figures.WHOLE, *figures.QUICK)}
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, fewer connections")
    parser.add_argument("--figure", action="append", choices=known, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--against", action="append", choices=servers, metavar="SERVER", help="this one; repeatable")
    parser.add_argument("--rounds", type=positive(int), metavar="N", help="rounds a figure [7; 3 with --quick]")
    parser.add_argument("--seconds", type=positive(float), metavar="S", help="measured a round [0.5; 0.15]")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER", help="for docs/benchmarks.md and bench.json [this one]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    parser.add_argument("--list", action="store_true", help="say what can be measured, and end")
    given = parser.parse_args(words)
    if given.list:
        for key, title in known.items():
            print(f"{key:16} {title}")
        print(f"against: {'; '.join(servers)}")
        parser.exit()
    return given


def plan_of(given: argparse.Namespace) -> Plan:
    """What was asked for."""
    wanted = figures.QUICK if given.quick else figures.WHOLE
    if given.figure is not None:
        named = {figure.key: figure for figure in (*figures.QUICK, *figures.WHOLE)}
        wanted = tuple(named[key] for key in dict.fromkeys(given.figure))
    if given.against is not None:
        wanted = tuple(figures.narrowed(figure, given.against) for figure in wanted)
    rounds, seconds, warm_up = (3, 0.15, 0.05) if given.quick else (7, 0.5, 0.1)
    return Plan(wanted, given.rounds or rounds, given.seconds or seconds, warm_up)


def publish(found: Found, out: Path, command: str) -> None:
    """Write what a run has found: the page, its plots, and every round."""
    docs = out / "docs"
    try:
        drawn = plots.draw(found.comparisons, docs / "benchmarks")
    except ModuleNotFoundError as error:
        print(f"bench: no plots: {error.name} is not installed: uv sync --group bench", file=sys.stderr)
        drawn = {}
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "benchmarks.md").write_text(page(found, command, drawn), encoding="utf-8")
    (out / "bench.json").write_text(json.dumps(found.document(), indent=2) + "\n", encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    given = _parsed(words)
    command = " ".join(["just bench", *(["--quick"] if given.quick else [])])

    def keep(found: Found) -> None:
        # A part is a look at it, not the page.
        if not (given.figure or given.against) or given.out != Path():
            try:
                publish(found, given.out, command)
            except OSError as error:
                print(f"bench: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)

    return run(plan_of(given), as_json=given.json, abilities=not (given.figure or given.against), keep=keep)


if __name__ == "__main__":
    sys.exit(main())
