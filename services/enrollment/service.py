"""Who may have a certificate, how often they may ask, and what is written down of it. The authority signs."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

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

    Question = Callable[[datetime], Enrolled]

KEY = "handclasp.enrollment"
"""Where the Enrollment is in the lifespan's state, of a server that has one."""

_current: ContextVar[Enrollment | None] = ContextVar("handclasp.enrollment", default=None)


_MOST_TOLD = 10_000
"""Callers of whom it is remembered that their refusal was written down."""

_TOGETHER = 32
"""Certificates of one transaction, where as many are waited for."""


class TooOftenError(Exception):
    """Somebody asks more often than they may."""


class LeftError(Exception):
    """Somebody was gone before it was their turn: nothing was begun."""


class Asking(NamedTuple):
    """Somebody who asks for a certificate."""

    how: str
    """What it will have been: `renewed`, `enrolled`."""
    who: str
    """By whom it is counted how often they ask."""
    identity: str | None
    address: str | None


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
        self._under_way: set[asyncio.Task[Enrolled]] = set()
        self._waiting: deque[tuple[Question, Future[Enrolled]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="enrollment")

    async def renew(self, csr: bytes, peer: Peer) -> Enrolled:
        """A new certificate for the identity of the caller.

        Raises PKIError as `pki.enrolling.Enrolling.renew` does, and TooOftenError.
        """
        name, sha256 = peer.identity.name, peer.identity.sha256
        asking = Asking("renewed", f"identity {name}", name, None if peer.address is None else peer.address[0])
        return await self._whole(asking, lambda now: self._authority.renew(SigningRequest.parse(csr), sha256, now=now))

    async def enroll(self, csr: bytes, token: str, address: str) -> Enrolled:
        """A first certificate for who has a one-time token.

        Raises PKIError as `pki.enrolling.Enrolling.enroll` does, and TooOftenError.
        """
        asking = Asking("enrolled", f"address {address}", None, address)
        return await self._whole(asking, lambda now: self._authority.enroll(SigningRequest.parse(csr), token, now=now))

    def nonsense(self, reason: str, address: str) -> None:
        """Somebody without a certificate made a call that could not be taken up: it counts as one that asks."""
        asking = Asking("enrolled", f"address {address}", None, address)
        try:
            self._check_rate(asking.who)
        except TooOftenError as error:
            self._refused(asking, error)
        else:
            self._audit.enrollment_refused(reason, None, address)

    def close(self) -> None:
        """Let go of the authority; what is being signed is signed."""
        self._thread.shutdown()
        self._authority.close()

    async def _whole(self, asking: Asking, question: Question) -> Enrolled:
        """Ask, and write down what came of it. Whoever leaves meanwhile: what the authority has begun is both.

        What it has not begun by then is not begun for nobody.
        """
        left = False

        def unless_left(now: datetime) -> Enrolled:
            if left:
                raise LeftError("the caller left, or its deadline passed, before it was its turn")
            return question(now)

        task = asyncio.ensure_future(self._ask(asking, unless_left))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            left = True
            raise

    def _done(self, task: asyncio.Task[Enrolled]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # it was written down, and whoever still waits is told

    async def _ask(self, asking: Asking, question: Question) -> Enrolled:
        try:
            self._check_rate(asking.who)
            answer: Future[Enrolled] = Future()
            self._waiting.append((question, answer))
            self._thread.submit(self._answer)
            enrolled = await asyncio.wrap_future(answer)
        except (PKIError, TooOftenError, LeftError) as error:
            self._refused(asking, error)
            raise
        row = enrolled.row
        self._audit.certificate_issued(
            asking.how,
            name=row.names.name,
            serial=row.serial,
            expires=row.not_after,
            requested_by=row.requested_by,
            address=asking.address,
        )
        return enrolled

    def _answer(self) -> None:
        """In the thread: take those that wait, and answer them once the inventory has what was issued to them all."""
        batch: list[tuple[Question, Future[Enrolled]]] = []
        while self._waiting and len(batch) < _TOGETHER:
            batch.append(self._waiting.popleft())
        outcomes: list[Enrolled | Exception] = []
        try:
            with self._authority.together() if len(batch) > 1 else nullcontext():
                outcomes += [_outcome(question) for question, _ in batch]
        except Exception as error:  # noqa: BLE001 - nothing was committed: each of them is told
            outcomes = [error] * len(batch)
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            with suppress(InvalidStateError):  # the loop has ended meanwhile
                if isinstance(outcome, Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    def _check_rate(self, who: str) -> None:
        if not self._limiter.hit(self._rate, who):
            raise TooOftenError(f"asked more than {self._rate.amount} times in a minute: wait, then try again")
        self._told.discard(who)

    def _refused(self, asking: Asking, error: Exception) -> None:
        if isinstance(error, TooOftenError):
            if asking.who in self._told:
                return
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(asking.who)
        self._audit.enrollment_refused(str(error), asking.identity, asking.address)


def _outcome(question: Question) -> Enrolled | Exception:
    try:
        return question(datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - it is for whoever has asked, and for nobody else of the batch
        return error


def current_enrollment() -> Enrollment | None:
    """The Enrollment of the server that runs this RPC; None where it has none."""
    return _current.get()


def bind_enrollment(enrollment: Enrollment | None) -> None:
    """Make it the current one in the running context."""
    _current.set(enrollment)
