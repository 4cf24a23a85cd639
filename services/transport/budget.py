"""How often something may happen: token buckets, and who has emptied one. Time is passed in, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from services.peer import Peer
    from services.transport.limits import Limits

    Caller = tuple[str, str | None]


class Budget:
    """`burst` at once, and `rate` a second after that."""

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

    def share(self, now: float) -> float:
        """What is left of it, at most 1: then all that was spent has come back."""
        return min(1.0, (self._left + (now - self._since) * self._rate) / self._burst)


class Allowance(NamedTuple):
    """What one HTTP/2 connection may do that is work for nothing."""

    resets: Budget
    """Streams reset, by either side (CVE-2023-44487, CVE-2025-8671); nghttp2's figures."""
    controls: Budget
    """PING, SETTINGS, PRIORITY, empty DATA, unknown frames; each request and each frame of a response earns one."""


_WORTH_A_NOTE = 0.9
"""Of an allowance, what is left at a connection's end from which on nobody is remembered for it."""


class Allowances:
    """A whole allowance for everybody, but for who has used one and comes back on another connection.

    A flood that hangs up, or is hung up on, would else begin anew as often as it can shake hands. Who it is, is the
    identity and the host: a fault in one replica of a service is not the others'.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used: dict[Caller, Allowance] = {}

    def of(self, peer: Peer, now: float) -> Allowance:
        """The allowance of a new connection: the one that its caller has used, until that is whole again."""
        known = self._used.get(_caller(peer))
        if known is not None and _left(known, now) < 1:
            return known
        limits = self._limits
        return Allowance(
            Budget(limits.max_resets, limits.resets_per_second),
            Budget(limits.max_control_frames, limits.control_frames_per_second),
        )

    def remember(self, peer: Peer, allowance: Allowance, now: float) -> None:
        """A connection has ended: keep what it has left, where that is little, and less than what is known."""
        if (left := _left(allowance, now)) >= _WORTH_A_NOTE:
            return
        self._used = {caller: kept for caller, kept in self._used.items() if _left(kept, now) < 1}
        known = self._used.get(_caller(peer))
        if known is None or left < _left(known, now):
            self._used[_caller(peer)] = allowance


def _left(allowance: Allowance, now: float) -> float:
    return min(budget.share(now) for budget in allowance)


def _caller(peer: Peer) -> Caller:
    return peer.identity.name, None if peer.address is None else peer.address[0]
