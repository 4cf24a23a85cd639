"""Is it alive, is it ready? Pure: no clock, no sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.transport.snapshot import Snapshot


@dataclass(slots=True)
class Readiness:
    """Whether this process should be sent requests."""

    snapshot: Callable[[], Snapshot]
    stopping: Callable[[], bool]
    started: bool = False

    def objection(self, now: datetime) -> str | None:
        """Why not; None where nothing speaks against it. What nobody could be let in with is not ready either."""
        if self.stopping():
            return "draining: the server is about to stop"
        if not self.started:
            return "starting"
        snapshot = self.snapshot()
        if now >= snapshot.credential.leaf.not_valid_after_utc:
            return "the server's credential has expired"
        if all(now >= anchor.not_valid_after_utc for anchor in snapshot.trust):
            return "every authority has expired"
        return None
