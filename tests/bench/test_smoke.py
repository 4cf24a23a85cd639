"""The bench runs: a very short round of it, against a real server of ours and a stock one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.servers import ROOT
from tests.support.tools import require


@pytest.mark.slow
def test_a_short_round_is_measured_and_every_answer_checked() -> None:
    """`python -m tests.bench.quick` starts both servers, loads them, and prints a ratio of what was found."""
    require("go")
    words = ["--figure", "h2", "--rounds", "1", "--seconds", "0.05", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.quick", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["void"] == {}
    found = document["figures"]["h2"]
    assert found["ratios"]["stock hypercorn"]["ratio"]["median"] > 0
    assert all(sample["value"] > 0 for samples in found["samples"].values() for sample in samples)


def test_the_load_counts_right_answers_alone() -> None:
    """The load's own tests: another body, status, length or trailer is no answer."""
    go = require("go")
    done = subprocess.run(
        [go, "test", "./..."], cwd=Path(__file__).parent / "load", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_go_the_bench_says_what_to_install(tmp_path: Path) -> None:
    """One line, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.quick", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert done.stderr == "bench: the load is a program in Go, which is not installed: apt install golang\n"
