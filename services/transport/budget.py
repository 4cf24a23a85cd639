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

    def is_whole(self, now: float) -> bool:
        """Whether it is as it was in the beginning: what was spent has come back."""
        return self._left + (now - self._since) * self._rate >= self._burst


class Allowance(NamedTuple):
    """What one HTTP/2 connection may do that is work for nothing."""

    resets: Budget
    """Streams reset, by either side (CVE-2023-44487, CVE-2025-8671); nghttp2's figures."""
    controls: Budget
    """PING, SETTINGS, PRIORITY, empty DATA, unknown frames; each request and each frame of a response earns one."""


class Allowances:
    """A whole allowance for everybody, but for who has used one up and comes back on another connection.

    A flood whose connection ends would else begin anew with a whole one, as often as it can shake hands. Who it is, is
    the identity and the host: a fault in one replica of a service is not the others'.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used_up: dict[Caller, Allowance] = {}

    def of(self, peer: Peer, now: float) -> Allowance:
        """The allowance of a new connection: what its caller has left, who has used one up, till that is whole."""
        caller = _caller(peer)
        known = self._used_up.get(caller)
        if known is not None:
            if not all(budget.is_whole(now) for budget in known):
                return known
            del self._used_up[caller]
        limits = self._limits
        return Allowance(
            Budget(limits.max_resets, limits.resets_per_second),
            Budget(limits.max_control_frames, limits.control_frames_per_second),
        )

    def remember(self, peer: Peer, allowance: Allowance, now: float) -> None:
        """This caller has been told to calm down."""
        for other, kept in list(self._used_up.items()):
            if all(budget.is_whole(now) for budget in kept):
                del self._used_up[other]
        self._used_up[_caller(peer)] = allowance


def _caller(peer: Peer) -> Caller:
    return peer.identity.name, None if peer.address is None else peer.address[0]
