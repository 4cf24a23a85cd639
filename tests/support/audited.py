"""What a server has written into its audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.server import eventually

if TYPE_CHECKING:
    from pathlib import Path


def audited(log: Path, event: str, **facts: object) -> list[dict[str, Any]]:
    """Wait for a line with these facts; return all there are. The line that is being written is none yet."""
    found: list[dict[str, Any]] = []

    def looked() -> bool:
        whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
        entries = [json.loads(line) for line in whole.splitlines()]
        found[:] = [entry for entry in entries if entry["event"] == event and facts.items() <= entry.items()]
        return bool(found)

    eventually(looked, what=lambda: f"{event} {facts} in {log.read_text() if log.exists() else 'no file'}")
    return found
