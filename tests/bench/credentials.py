"""Throw-away credentials from our own authority: P-256, the same for all servers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credential folders of one authority."""

    state: Path

    @classmethod
    def make(cls, state: Path) -> Credentials:
        """Issue them. Raises RuntimeError with the authority's own words where it refuses."""
        made = cls(state)
        made._pki("init")
        made._pki("issue", "server", "localhost", "--dns", "localhost", "--ip", "127.0.0.1", "--key", "p256")
        made.another_client("alice")
        return made

    @property
    def server(self) -> Path:
        return self.state / "credentials" / "localhost"

    @property
    def client(self) -> Path:
        return self.state / "credentials" / "alice"

    def another_client(self, name: str) -> Path:
        """Issue one for somebody else; return its folder."""
        self._pki("issue", "client", name, "--email", f"{name}@example.com", "--key", "p256")
        return self.state / "credentials" / name

    def rotate_server(self) -> None:
        """A new key and certificate in the folder that the servers were given."""
        self._pki("rotate", "localhost")

    def revoke(self, name: str) -> None:
        """Take back a client's certificate, and say so in the list beside the servers' credential."""
        self._pki("revoke", "--name", name, "--yes")

    def _pki(self, *words: str) -> None:
        command = [sys.executable, "-m", "pki", "--state", str(self.state), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"handclasp-pki {words[0]}: {done.stderr.strip()}")
