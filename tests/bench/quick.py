"""Handclasp against stock Hypercorn alone, side by side in one run of under two minutes.

  python -m tests.bench.quick                    all figures, medians of 9 rounds
  python -m tests.bench.quick --figure h2        one of them (repeatable)
  python -m tests.bench.quick --json > quick.json

`just bench` measures more, and beside more servers. The answer is on stdout, progress on stderr. Exit 0 whatever the
figures are; 1 where the run is void, because an answer was wrong or missing.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.figures import AGAINST_STOCK
from tests.bench.measuring import positive, run
from tests.bench.rounds import Plan


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.quick", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [figure.key for figure in AGAINST_STOCK]
    parser.add_argument("--rounds", type=positive(int), default=9, metavar="N", help="rounds a figure [9]")
    parser.add_argument("--seconds", type=positive(float), default=0.25, metavar="S", help="measured a round [0.25]")
    parser.add_argument("--warm-up", type=positive(float), default=0.05, metavar="S", help="before each round [0.05]")
    parser.add_argument("--figure", action="append", choices=keys, help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    given = parser.parse_args()
    wanted = [figure for figure in AGAINST_STOCK if given.figure is None or figure.key in given.figure]
    return run(Plan(wanted, given.rounds, given.seconds, given.warm_up), as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
