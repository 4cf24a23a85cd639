"""Health, as this process can know it: it answers, so it is up."""

from __future__ import annotations


def check() -> dict[str, str]:
    """Return `{"status": "ok"}`."""
    return {"status": "ok"}
