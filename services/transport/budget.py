"""How often something may happen: a token bucket."""

from __future__ import annotations


class Budget:
    """`burst` at once, and `rate` a second after that. Time is passed in, in seconds."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: int, rate: int) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._since = 0.0

    def spend(self, now: float) -> bool:
        """Take one; return whether there was one to take."""
        self._left = min(self._burst, self._left + (now - self._since) * self._rate) - 1
        self._since = now
        return self._left >= 0

    def earn(self) -> None:
        """Give one back."""
        self._left = min(self._burst, self._left + 1)
