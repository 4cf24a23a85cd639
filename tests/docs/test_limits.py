"""docs/operations.md says of each limit what the default is: the one that `Settings` has."""

from __future__ import annotations

import re
from pathlib import Path

from services.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)


def value(text: str) -> float | None:
    """`10 s`, `1,000`, `32 KiB`, `none`."""
    if text == "none":
        return None
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * {"": 1, "s": 1, "KiB": 1024}[unit]


def test_every_limit_is_there_with_its_default() -> None:
    """Whatever is bounded by a setting (`max_*`, `*_timeout`, `*_per_second`) has its row, and no row another value."""
    section = PAGE.partition("### Limits")[2].partition("\n### ")[0]
    said = {name: value(text) for name, text in ROW.findall(section)}
    fields = Settings.model_fields
    for name, default in said.items():
        assert fields[name].default == default, name
    bounds = {name for name in fields if re.match(r"max_|.*_timeout$|.*_per_second$", name)}
    assert bounds - set(said) == {"max_requests", "graceful_timeout", "drain_timeout"}
    for name in ("graceful_timeout", "drain_timeout"):
        assert f"`{name}`" in section
        assert fields[name].default == 30.0
