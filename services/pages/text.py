"""Text that strangers chose, for pages: harmless by itself, before the template escapes it."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_LONGEST = 120


def visible(text: str, longest: int = _LONGEST) -> str:
    """The text in one line: what turns its direction, hides or moves is escaped, and what is long is cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def moment(at: datetime) -> str:
    """`2026-11-24 09:30 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(time: timedelta) -> str:
    """How long, in the largest unit of which there is more than one: `6 days`, `36 hours`, `90 seconds`."""
    seconds = abs(time.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"


def until(at: datetime, now: datetime) -> str:
    """`in 6 days`, or `2 hours ago`."""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def fingerprint(sha256: str) -> str:
    """In groups of four, so that a person can compare it."""
    return " ".join(sha256[at : at + 4] for at in range(0, len(sha256), 4))
