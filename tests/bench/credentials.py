"""Throw-away credentials from our own authority: P-256, the same for both servers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """Two credential folders of one authority."""

    server: Path
    client: Path

    @classmethod
    def make(cls, state: Path) -> Credentials:
        """Issue them. Raises RuntimeError with the authority's own words where it refuses."""
        _pki(state, "init")
        _pki(state, "issue", "server", "localhost", "--dns", "localhost", "--ip", "127.0.0.1", "--key", "p256")
        _pki(state, "issue", "client", "alice", "--email", "alice@example.com", "--key", "p256")
        return cls(state / "credentials" / "localhost", state / "credentials" / "alice")


def _pki(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pki", "--state", str(state), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"handclasp-pki {words[0]}: {done.stderr.strip()}")
