"""docs/security.md names tests: each of them is there, and each pitfall has one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
ROWS = re.findall(r"^\|.*`tests/.*\|$", PAGE, re.MULTILINE)


@cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_each_pitfall_has_a_test_that_is_there() -> None:
    """A test that is renamed or removed takes its promise along: this one says so."""
    section = PAGE.partition("## Pitfalls")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(table) == len(ROWS) == 23
    for row in table:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert test in functions_of(path), f"{path}::{test}"


def test_every_file_that_is_named_is_there() -> None:
    for path in re.findall(r"`(docs/[\w./]+)`", PAGE):
        assert (ROOT / path).exists(), path
