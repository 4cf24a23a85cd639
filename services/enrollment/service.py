"""Who may have a certificate, how often they may ask, and what is written down of it. The authority signs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from pki.csr import SigningRequest
from pki.errors import PKIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.enrolling import Enrolled, Enrolling
    from services.audit import Audit
    from services.peer import Peer

KEY = "handclasp.enrollment"
"""Where the Enrollment is in the lifespan's state, of a server that has one."""

_current: ContextVar[Enrollment | None] = ContextVar("handclasp.enrollment", default=None)


_MOST_TOLD = 10_000
"""Callers of whom it is remembered that their refusal was written down."""


class TooOftenError(Exception):
    """Somebody asks more often than they may."""


class Enrollment:
    """Asks the authority, in a thread of its own: the event loop serves on. Every answer is in the audit log.

    Of who asks too often nothing reaches the authority, and the audit log has the first refusal of a row alone: who
    floods us does not fill a disk.
    """

    def __init__(self, authority: Enrolling, audit: Audit, *, per_minute: int) -> None:
        """`per_minute`: how often one caller, or one address, may ask this process."""
        self._authority = authority
        self._audit = audit
        self._rate = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._told: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="enrollment")

    async def renew(self, csr: bytes, peer: Peer) -> Enrolled:
        """A new certificate for the identity of the caller.

        Raises PKIError as `pki.enrolling.Enrolling.renew` does, and TooOftenError.
        """
        address = _host(peer.address)
        try:
            self._check_rate(f"identity {peer.identity.name}")
            enrolled = await self._ask(
                lambda now: self._authority.renew(SigningRequest.parse(csr), peer.identity.sha256, now=now)
            )
        except (PKIError, TooOftenError) as error:
            self._refused(f"identity {peer.identity.name}", error, peer.identity.name, address)
            raise
        self._issued("renewed", enrolled, address)
        return enrolled

    async def enroll(self, csr: bytes, token: str, address: str) -> Enrolled:
        """A first certificate for who has a one-time token.

        Raises PKIError as `pki.enrolling.Enrolling.enroll` does, and TooOftenError.
        """
        try:
            self._check_rate(f"address {address}")
            enrolled = await self._ask(lambda now: self._authority.enroll(SigningRequest.parse(csr), token, now=now))
        except (PKIError, TooOftenError) as error:
            self._refused(f"address {address}", error, None, address)
            raise
        self._issued("enrolled", enrolled, address)
        return enrolled

    def close(self) -> None:
        """Let go of the authority; what is being signed is signed."""
        self._thread.shutdown()
        self._authority.close()

    async def _ask(self, question: Callable[[datetime], Enrolled]) -> Enrolled:
        # Shielded: whoever leaves meanwhile, what the authority does is done, and written down, as a whole.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, lambda: question(datetime.now(UTC))))

    def _check_rate(self, who: str) -> None:
        if not self._limiter.hit(self._rate, who):
            raise TooOftenError(f"asked more than {self._rate.amount} times in a minute: wait, then try again")
        self._told.discard(who)

    def _issued(self, how: str, enrolled: Enrolled, address: str | None) -> None:
        row = enrolled.row
        self._audit.certificate_issued(
            how,
            name=row.names.name,
            serial=row.serial,
            expires=row.not_after,
            requested_by=row.requested_by,
            address=address,
        )

    def _refused(self, who: str, error: Exception, identity: str | None, address: str | None) -> None:
        if isinstance(error, TooOftenError):
            if who in self._told:
                return
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(who)
        self._audit.enrollment_refused(str(error), identity, address)


def current_enrollment() -> Enrollment | None:
    """The Enrollment of the server that runs this RPC; None where it has none."""
    return _current.get()


def bind_enrollment(enrollment: Enrollment | None) -> None:
    """Make it the current one in the running context."""
    _current.set(enrollment)


def _host(address: tuple[str, int] | None) -> str | None:
    return None if address is None else address[0]
