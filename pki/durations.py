"""Spans of time as people type them: `24h`, `90d`, `15m`, `30s`."""

from __future__ import annotations

import re
from datetime import timedelta

from pki.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_duration(text: str) -> timedelta:
    """A span of time above nothing. Raises UsageError."""
    match = _DURATION.fullmatch(text)
    try:
        span = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    except OverflowError:
        span = timedelta()
    if not span:
        raise UsageError(f"{text!a} is no span of time: it looks like 90d, 24h, 15m or 30s")
    return span
