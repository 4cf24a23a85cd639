"""When certificates end, drawn: a bar for each part of the time ahead, a mark where an authority ends. No script."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.pages.text import visible

if TYPE_CHECKING:
    from pki.survey import Survey

WIDTH, HEIGHT, FLOOR = 100, 170, 140
"""Of the drawing, in per cent of the page's; and of it and its base line, in pixels: words keep their size."""

_TICKS = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """Certificates that end in one part of the time."""

    x: float
    y: float
    width: float
    height: float
    words: str
    soon: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment, named."""

    x: float
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the template draws, in SVG."""

    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    words: str
    """All of it in a sentence, for who cannot see it."""
    height: int = HEIGHT
    floor: int = FLOOR


def timeline(survey: Survey) -> Timeline:
    """Lay the time from now until the last end over the whole width; authorities are marked where they end within."""
    whole, parts = survey.until - survey.taken, len(survey.ends)
    most = max(survey.ends, default=0)
    if not most or whole <= timedelta(0):
        return Timeline((), (), (), "No certificate is living.")
    width = WIDTH / parts
    bars = []
    for number, count in enumerate(survey.ends):
        if not count:
            continue
        begin, end = survey.taken + whole * number / parts, survey.taken + whole * (number + 1) / parts
        height = max(FLOOR * 0.9 * count / most, 2.0)
        words = f"{count} {'ends' if count == 1 else 'end'} between {begin:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC"
        soon = end - survey.taken <= timedelta(days=3)
        bars.append(Bar((number + 0.1) * width, FLOOR - height, 0.8 * width, height, words, soon))
    form = "%Y-%m-%d" if whole > timedelta(days=3) else "%d %b %H:%M"
    ticks = tuple(
        Mark(WIDTH * number / _TICKS, (survey.taken + whole * number / _TICKS).strftime(form))
        for number in range(_TICKS + 1)
    )
    marks = tuple(
        Mark(WIDTH * ((row.not_after - survey.taken) / whole), f"{visible(row.name, 40)} ends")
        for row in survey.authorities
        if survey.taken < row.not_after <= survey.until
    )
    first = next(bar.words for bar in bars)
    return Timeline(tuple(bars), ticks, marks, f"{sum(survey.ends)} living. First: {first}.")
