"""Where in a TOML file a key is: TOML's readers do not say."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_HEADER = re.compile(r"\s*\[([^\[].*?)\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([^#=\[\]{}]+?)\s*=")


def line_of(text: str, key: tuple[str, ...]) -> int:
    """The line of a key, each of its parts one of `key`; where it is inside of another, the line of that one.

    A text of several lines may look like a key; a message that names its line is no worse than one that names none.
    """
    best, depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            found = table = _parts(header[1])
        elif said := _KEY.match(line):
            found = (*table, *_parts(said[1]))
        else:
            continue
        common = found[: len(key)] == key[: len(found)]
        if common and min(len(found), len(key)) > depth:
            best, depth = number, min(len(found), len(key))
    return best


def _parts(written: str) -> tuple[str, ...]:
    """The parts of a dotted key, some of them perhaps in quotes."""
    try:
        inner: Any = tomllib.loads(f"{written} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)
