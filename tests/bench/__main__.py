"""Handclasp beside other servers, side by side in one run: `just bench`.

  just bench                      everything, in under 15 minutes
  just bench --quick              in under 2 minutes: fewer and shorter rounds
  just bench --figure h2 --figure memory-1000
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

from tests.bench import figures
from tests.bench.measuring import positive, run
from tests.bench.rounds import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {figure.key: figure.title for figure in (*figures.WHOLE, *figures.QUICK)}
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, fewer connections")
    parser.add_argument("--figure", action="append", choices=known, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--rounds", type=positive(int), metavar="N", help="rounds a figure [9; 3 with --quick]")
    parser.add_argument("--seconds", type=positive(float), metavar="S", help="measured a round [0.5; 0.2]")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="for bench.json [this one]")
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    parser.add_argument("--list", action="store_true", help="say what can be measured, and end")
    given = parser.parse_args(words)
    if given.list:
        for key, title in known.items():
            print(f"{key:16} {title}")
        parser.exit()
    return given


def plan_of(given: argparse.Namespace) -> Plan:
    """What was asked for."""
    wanted = figures.QUICK if given.quick else figures.WHOLE
    if given.figure is not None:
        named = {figure.key: figure for figure in (*figures.QUICK, *figures.WHOLE)}
        wanted = tuple(named[key] for key in dict.fromkeys(given.figure))
    rounds, seconds = (3, 0.2) if given.quick else (9, 0.5)
    return Plan(wanted, given.rounds or rounds, given.seconds or seconds, warm_up=0.1)


def main(words: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    given = _parsed(words)

    def keep(document: Mapping[str, Any]) -> None:
        (given.out / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    return run(plan_of(given), as_json=given.json, keep=keep)


if __name__ == "__main__":
    sys.exit(main())
