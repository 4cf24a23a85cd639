"""The authority's inventory, looked at for the page: in a thread, once for all who watch, and not all the time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pki.lifecycle import Lifecycle
from pki.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from pki.survey import Survey

_REST = 5.0
"""Seconds that a survey is good for, at least."""

_SHARE = 20
"""A survey that takes a second is good for so many seconds: looking costs a twentieth of the time at most."""


@dataclass
class Stocktaking:
    """One process's view of the inventory."""

    state: Path
    database: str | None = field(default=None, repr=False)
    _latest: Survey | None = None
    _due: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def survey(self, words: str = "") -> Survey:
        """The inventory with what these words find; without words, as it was a few seconds ago.

        Raises:
            PKIError: it cannot be read.
        """
        async with self._turn:  # one at a time, whoever asks
            if words:
                return await asyncio.to_thread(self._look, words)
            if self._latest is None or time.monotonic() >= self._due:
                begun = time.monotonic()
                self._latest = await asyncio.to_thread(self._look, "")
                ended = time.monotonic()
                self._due = ended + max(_REST, _SHARE * (ended - begun))
            return self._latest

    def _look(self, words: str) -> Survey:
        return Lifecycle(State(self.state), database=self.database).survey(now=datetime.now(UTC), words=words)
