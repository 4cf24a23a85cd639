"""AutoRenew: a credential that is renewed in time, by a thread or by a task, for as long as somebody wants it.

At two thirds of its life, a little earlier by chance, so that thousands that were issued together do not come together.
After a failure it tries again, ever more slowly, and says so; near the end it says so loudly. The new pair is
written as one change: sessions and servers that use the folder take it up by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from clients.errors import ClientError, CredentialProblem
from pki.credential import Credential
from pki.errors import PKIError

if TYPE_CHECKING:
    from os import PathLike

    from clients.session import AsyncSession, SyncSession

__all__ = ["AsyncAutoRenew", "AutoRenew"]

log = logging.getLogger("handclasp.renewal")

DUE, SPREAD = 2 / 3, 1 / 20
"""The part of its life at which a credential falls due, and by how much of it chance makes that earlier."""

_LOUD = 1 / 6
"""The part of its life before its end from which on a failure is an error."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1 / 200, 1 / 12
"""Parts of its life: the pause after the first failure, which doubles with each, and the longest one."""
_LOOK = 60.0
"""Seconds after which the folder is looked at again: somebody else may have renewed it, or the clock was set."""
_SHORTEST = 0.5


class Schedule:
    """When to renew next. Pure, but for chance."""

    def __init__(self, leaf_begins: datetime, leaf_ends: datetime) -> None:
        self._ends = leaf_ends
        self._life = leaf_ends - leaf_begins
        early = SPREAD * random.random()  # noqa: S311 - no secret
        self._due = leaf_begins + self._life * (DUE - early)
        self.failures = 0

    @classmethod
    def of(cls, credential: Credential) -> Schedule:
        """The schedule of a credential."""
        return cls(credential.leaf.not_valid_before_utc, credential.leaf.not_valid_after_utc)

    @property
    def due(self) -> datetime:
        """When it is renewed, or tried again."""
        return self._due

    def failed(self, now: datetime) -> None:
        """It did not work: try again after a pause, with full jitter above its half."""
        pause = min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE) * self._life
        self.failures += 1
        seconds = max(_SHORTEST, pause.total_seconds() * random.uniform(0.5, 1))  # noqa: S311 - no secret
        self._due = now + timedelta(seconds=seconds)

    def renewed(self, now: datetime) -> None:
        """It was issued just now: it is not renewed before half of what it lasts, however far back it is dated.

        Authorities date certificates back, for clocks that differ: of a short life, two thirds may be over at birth.
        """
        self._due = max(self._due, now + (self._ends - now) / 2)

    def is_loud(self, now: datetime) -> bool:
        """Whether it will end soon."""
        return now > self._ends - self._life * _LOUD

    def wait(self, now: datetime) -> float:
        """Seconds until it should be looked at again."""
        return min(max((self._due - now).total_seconds(), 0.0), _LOOK)

    def left(self, now: datetime) -> str:
        """How long it lasts, in words."""
        seconds = int((self._ends - now).total_seconds())
        if seconds < 0:
            return f"it ended at {self._ends:%Y-%m-%d %H:%M:%S} UTC"
        return f"it ends in {seconds // 3600}h{seconds // 60 % 60:02}m{seconds % 60:02}s"


class _Watch:
    """What thread and task have in common: the credential that is there, and its schedule."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self._credential = self._read()
        self._schedule = Schedule.of(self._credential)

    def _read(self) -> Credential:
        """Raises CredentialProblem."""
        try:
            return Credential.load(self.folder)
        except PKIError as error:
            raise CredentialProblem(f"our credential: {error}") from error

    def _look(self) -> None:
        """Take up what somebody else has put into the folder."""
        with suppress(CredentialProblem):  # what cannot be read just now is renewed when the old one falls due
            there = self._read()
            if there != self._credential:
                self._credential, self._schedule = there, Schedule.of(there)

    def is_due(self, now: datetime) -> bool:
        self._look()
        return now >= self._schedule.due

    def wait(self, now: datetime) -> float:
        return self._schedule.wait(now)

    def renewed(self, now: datetime) -> None:
        self._look()
        self._schedule.renewed(now)
        leaf = self._credential.leaf
        log.info("renewed %s: serial %x, until %s", self.folder, leaf.serial_number, leaf.not_valid_after_utc)

    def failed(self, error: Exception, now: datetime) -> None:
        self._schedule.failed(now)
        again = f"trying again in {self._schedule.wait(now):.0f} s"
        level = logging.ERROR if self._schedule.is_loud(now) else logging.WARNING
        log.log(level, "%s was not renewed, and %s: %s; %s", self.folder, self._schedule.left(now), error, again)


class AutoRenew:
    """Renews the credential of a session in a thread, from `start` to `stop`; also a context manager."""

    def __init__(self, session: SyncSession) -> None:
        """`session` calls the server that renews, with the credential that is to be renewed.

        Raises CredentialProblem where there is none to begin with.
        """
        self._session = session
        self._watch = _Watch(session.folder)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Begin. The thread keeps no program from ending."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="handclasp-renewal", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End, once a renewal that is under way is done."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def run(self, stopping: threading.Event | None = None) -> None:
        """Renew in this thread until `stopping` is set, or `stop` is called."""
        stopping = stopping or self._stopping
        while not stopping.is_set():
            if self._watch.is_due(datetime.now(UTC)):
                self._renew()
            stopping.wait(self._watch.wait(datetime.now(UTC)))

    def _renew(self) -> None:
        try:
            self._session.renew()
        except ClientError as error:
            self._watch.failed(error, datetime.now(UTC))
        except Exception as error:
            log.exception("the renewal failed in a way that was not foreseen")
            self._watch.failed(error, datetime.now(UTC))
        else:
            self._watch.renewed(datetime.now(UTC))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class AsyncAutoRenew:
    """The same in a task of the running loop; an asynchronous context manager."""

    def __init__(self, session: AsyncSession) -> None:
        """As AutoRenew."""
        self._session = session
        self._watch = _Watch(session.folder)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Begin."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="handclasp-renewal")
        return self

    async def stop(self) -> None:
        """End now: a pair is written as a whole or not at all."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            if self._watch.is_due(datetime.now(UTC)):
                await self._renew()
            await asyncio.sleep(self._watch.wait(datetime.now(UTC)))

    async def _renew(self) -> None:
        try:
            await self._session.renew()
        except ClientError as error:
            self._watch.failed(error, datetime.now(UTC))
        except Exception as error:
            log.exception("the renewal failed in a way that was not foreseen")
            self._watch.failed(error, datetime.now(UTC))
        else:
            self._watch.renewed(datetime.now(UTC))

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
