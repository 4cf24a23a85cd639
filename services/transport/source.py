"""Where Snapshots come from: the credential folder, watched while the server runs."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
import watchfiles

from pki.errors import PKIError
from services.audit import Audit
from services.transport.candidate import Candidates, TrustRules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.transport.engine import Config
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.source")

POLL = 0.25
"""Seconds between two looks at the folder where the system gives no notice. A look is a few `stat` calls, and sees
Kubernetes' `..data` swap, a rename and a plain overwrite alike."""

_WARN_BEFORE = timedelta(days=1)
"""How long before a revocation list becomes stale the log says so; a quarter of its life, for one that lives less than
four days. Said again each hour."""
_WARN_AGAIN = 3600.0

AGAIN = 60.0
"""Seconds after which a candidate that was refused is tried once more: what is of the future comes to be of today."""

_SETTLED, _UNSETTLED = 30, 150
"""Milliseconds without a change after which a folder is looked at, and after which it is though changes go on."""


class CredentialSource:
    """Holds the current Snapshot, and replaces it when the folder holds another credential or trust that is sound.

    Reload is all or nothing: a candidate that does not validate changes nothing, is reported once, and the Snapshot
    before it goes on serving. Not safe for use from several threads; reading `snapshot` is.
    """

    def __init__(
        self, folder: Path, config: Config, rules: TrustRules | None = None, audit: Audit | None = None
    ) -> None:
        """Load the first Snapshot.

        Raises:
            PKIError: the folder holds no credential and trust that this server can work with.
        """
        self.folder = folder
        self.on_change: Callable[[Snapshot], None] = lambda _: None
        """Called with each new Snapshot, on the event loop, once it is the current one."""
        self._candidates = Candidates(folder, config, rules or TrustRules())
        self.audit = audit or Audit()
        self._wake = asyncio.Event()
        self._asked: list[Callable[[bool], None]] = []
        self._warned = float("-inf")
        self._refused: str | None = None
        self._tried = 0.0
        self._seen = self._candidates.fingerprint()
        self.snapshot = self._candidates.load(None)

    def reload_now(self, done: Callable[[bool], None] = lambda _: None) -> None:
        """Look at once, and load though nothing seems to have changed: SIGHUP. `done` hears whether it was sound."""
        self._asked.append(done)
        self._wake.set()

    async def watch(self) -> None:
        """Look at the folder until cancelled. Loading runs in a thread: the event loop goes on serving."""
        notices, watched = asyncio.create_task(self._take_notice()), self._folder_itself()
        loader = ThreadPoolExecutor(1, thread_name_prefix="reload")  # its own: an application may fill the loop's
        try:
            while True:
                if watched != (
                    there := self._folder_itself()
                ):  # another one under its name: the notices are of the old
                    notices.cancel()
                    notices, watched = asyncio.create_task(self._take_notice()), there
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL)
                self._wake.clear()
                self._warn_of_lists(time.monotonic())
                asked, self._asked = self._asked, []
                seen = self._candidates.fingerprint()
                news = bool(asked) or seen != self._seen
                if news or (self._refused is not None and time.monotonic() - self._tried >= AGAIN):
                    self._seen = seen
                    sound = await self._reload(loader, news=news)
                    for done in asked:
                        done(sound)
        finally:
            notices.cancel()
            loader.shutdown(wait=False)

    async def _take_notice(self) -> None:
        """Look as soon as the system says that something has changed. Where it does not say, POLL has to do."""
        while True:
            with suppress(OSError, RuntimeError):  # no such folder just now; no inotify left
                async for _ in watchfiles.awatch(
                    self.folder, watch_filter=None, step=_SETTLED, debounce=_UNSETTLED, ignore_permission_denied=True
                ):
                    self._wake.set()
            await asyncio.sleep(POLL)

    async def _reload(self, loader: ThreadPoolExecutor, *, news: bool) -> bool:
        """Whether what the folder holds was taken up. Without `news`, what has been said before is not said again."""
        loop, started = asyncio.get_running_loop(), time.monotonic()
        self._tried = started
        try:
            snapshot = await loop.run_in_executor(loader, self._candidates.load, self.snapshot)
        except PKIError as error:
            if news or str(error) != self._refused:
                log.error("reload refused: the credential before it goes on serving", reason=str(error))  # noqa: TRY400
                self.audit.reload_refused(str(error))
            self._refused = str(error)
            return False
        except Exception as error:
            log.exception("reload failed: the credential before it goes on serving")
            self.audit.reload_refused(type(error).__name__)
            return False
        self._refused = None
        self.snapshot = snapshot  # one assignment: a connection sees the old or the new, never a mixture
        self.on_change(snapshot)
        leaf, revoked = snapshot.credential.leaf, sum(map(len, snapshot.revocations.lists.values()))
        serial = format(leaf.serial_number, "x")
        self.audit.reload_accepted(snapshot.generation, serial, leaf.not_valid_after_utc, len(snapshot.trust), revoked)
        log.info(
            "reloaded",
            generation=snapshot.generation,
            serial=serial,
            expires=leaf.not_valid_after_utc.isoformat(),
            authorities=len(snapshot.trust),
            revoked=revoked,
            ms=round((time.monotonic() - started) * 1000, 1),
        )
        return True

    def _warn_of_lists(self, monotonic: float) -> None:
        if monotonic - self._warned < _WARN_AGAIN:
            return
        now = datetime.now(UTC)
        if self.snapshot.revocations.required and not self.snapshot.revocations.lists:
            self._warned = monotonic
            log.warning(
                "there is no revocation list, and one is required: nobody is let in",
                cure=f"publish one with 'handclasp-pki crl', or put one into {self.folder / 'ca.crl'}",
            )
        for found in self.snapshot.revocations.lists.values():
            if found.next_update - now < min(_WARN_BEFORE, (found.next_update - found.this_update) / 4):
                self._warned = monotonic
                log.warning(
                    "a revocation list becomes stale: nobody of its authority is let in from then on",
                    authority=found.issuer,
                    next_update=found.next_update.isoformat(),
                    cure="publish it again with 'handclasp-pki crl', or have 'handclasp-pki crl --daemon' do so",
                )

    def _folder_itself(self) -> tuple[int, int] | None:
        try:
            status = self.folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino
