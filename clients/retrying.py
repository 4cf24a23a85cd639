"""When a request may be sent again, and after what pause: only where the server cannot have acted on it twice."""

from __future__ import annotations

import random

ATTEMPTS = 3
_SHORTEST = 0.05


def pause(attempt: int) -> float:
    """Seconds to wait before the next attempt; `attempt` counts from 1. Full jitter, so that a crowd does not return
    as one.
    """
    return random.uniform(0, _SHORTEST * 2**attempt)  # noqa: S311 - no secret
