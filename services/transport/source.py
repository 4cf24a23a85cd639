"""Where Snapshots come from: the credential folder, watched while the server runs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import structlog
import watchfiles
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.credential import load_folder_with_lists, locate
from pki.crl import key_id
from pki.crl_apart import read_lists_apart
from pki.errors import CredentialError, PKIError, TrustError
from pki.identity import Purpose, has_purpose
from pki.trust import is_authority, was_issued_by
from services.audit import Audit
from services.authorization.policy import Policy
from services.transport.context import TLSPolicy, server_context
from services.transport.revocations import Revocations
from services.transport.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

    from pki.crl import RevocationList
    from pki.trust import TrustBundle
    from services.transport.engine import Config

log = structlog.get_logger("handclasp.source")

POLL = 0.25
"""Seconds between two looks at the folder where the system gives no notice. A look is a few `stat` calls, and sees
Kubernetes' `..data` swap, a rename and a plain overwrite alike."""

_CLOCKS_DIFFER = timedelta(minutes=1)
"""How far in the future a revocation list may have been signed."""

_WARN_BEFORE = timedelta(days=1)
"""How long before a revocation list becomes stale the log says so; a quarter of its life, for one that lives less than
four days. Said again each hour."""
_WARN_AGAIN = 3600.0

AGAIN = 60.0
"""Seconds after which a candidate that was refused is tried once more: what is of the future comes to be of today."""

_MOST_DOUBTS = 10
"""Rules of a policy that are doubted in words, each time it is read."""

_SETTLED, _UNSETTLED = 30, 150
"""Milliseconds without a change after which a folder is looked at, and after which it is though changes go on."""

_Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TrustRules:
    """What is asked of every credential folder."""

    policy: TLSPolicy = TLSPolicy.DEFAULT
    require_crl: bool = False
    recycle_after: timedelta | None = None
    policy_file: Path | None = None
    """The file that says who may do what."""


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
        self._config = config
        self._rules = rules or TrustRules()
        self.audit = audit or Audit()
        self._wake = asyncio.Event()
        self._asked: list[Callable[[bool], None]] = []
        self._warned = float("-inf")
        self._refused: str | None = None
        self._tried = 0.0
        self._read: tuple[bytes, tuple[RevocationList, ...]] | None = None
        self._seen = self._fingerprint()
        self.snapshot = self._load(None)

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
                seen = self._fingerprint()
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
            snapshot = await loop.run_in_executor(loader, self._load, self.snapshot)
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

    def _load(self, before: Snapshot | None) -> Snapshot:
        """The folder as a Snapshot, if all of it is sound. Raises PKIError; runs in a thread."""
        credential, trust, unverified = load_folder_with_lists(self.folder)
        below = [
            issuer
            for issuer in unverified.issuers
            if is_authority(issuer) and any(was_issued_by(issuer, anchor) for anchor in trust)
        ]
        vouchers = _vouchers(trust, below)
        now = datetime.now(UTC)
        self._check_ours(credential.leaf, now)
        if not trust.vouches_for(credential.chain):
            raise CredentialError(
                f"the certificate in {self.folder} leads to no authority of the trust bundle beside it (ca.crt): who "
                f"trusts that would refuse it; issue it anew with 'handclasp-pki rotate {self.folder.name}'"
            )
        revocations = Revocations.of(
            self._read_lists(unverified.data, (*trust, *below)), required=self._rules.require_crl
        )
        _check_lists(revocations, trust, now, before)
        generation = before.generation + 1 if before else 1
        same = before is not None and before.credential == credential
        return Snapshot(
            credential=credential,
            trust=trust,
            revocations=revocations,
            lists_sha256=None if unverified.data is None else hashlib.sha256(unverified.data).digest(),
            vouchers=vouchers,
            recycle_after=self._rules.recycle_after,
            policy=self._load_policy(),
            generation=generation,
            context=server_context(self._config, credential, trust, self._rules.policy, revocations),
            anchors=frozenset(anchor.fingerprint(hashes.SHA256()) for anchor in trust),
            presented_since=before.presented_since if before is not None and same else generation,
            server_cert=credential.leaf.public_bytes(Encoding.PEM).decode("ascii"),
        )

    def _load_policy(self) -> Policy | None:
        if self._rules.policy_file is None:
            return None
        policy = Policy.load(self._rules.policy_file)
        for doubt in islice(policy.doubts(), _MOST_DOUBTS):
            log.warning("a rule of the policy may not be what is meant", reason=doubt)
        return policy

    def _read_lists(self, data: bytes | None, authorities: Sequence[x509.Certificate]) -> tuple[RevocationList, ...]:
        """The lists, taken apart and verified; those that were read last where nothing about them has changed."""
        if data is None:
            return ()
        digest = hashlib.sha256(data)
        for authority in authorities:
            digest.update(authority.fingerprint(hashes.SHA256()))
        if self._read is None or self._read[0] != digest.digest():
            self._read = digest.digest(), read_lists_apart(data, authorities)
        return self._read[1]

    def _check_ours(self, leaf: x509.Certificate, now: datetime) -> None:
        again = f"issue it anew with 'handclasp-pki rotate {self.folder.name}'"
        if not has_purpose(leaf, Purpose.SERVER):
            raise CredentialError(
                f"the certificate in {self.folder} is not a server's (serverAuth is missing from its EKU): "
                "issue one with 'handclasp-pki issue server NAME'"
            )
        if now >= leaf.not_valid_after_utc:
            raise CredentialError(
                f"the certificate in {self.folder} expired on {leaf.not_valid_after_utc:%Y-%m-%d}: {again}"
            )
        if now < leaf.not_valid_before_utc:
            raise CredentialError(
                f"the certificate in {self.folder} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
                f"check this machine's clock, or {again}"
            )

    def _warn_of_lists(self, monotonic: float) -> None:
        if monotonic - self._warned < _WARN_AGAIN:
            return
        now = datetime.now(UTC)
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

    def _fingerprint(self) -> _Fingerprint:
        try:
            paths = locate(self.folder)
        except PKIError:
            return ()
        found = []
        watched = (paths.certificate, paths.key, paths.trust, paths.lists, self._rules.policy_file)
        for path in filter(None, watched):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)


def _vouchers(trust: TrustBundle, below: Sequence[x509.Certificate]) -> dict[bytes, frozenset[bytes]]:
    """By the key of each authority, whose word makes it one."""
    found = {key_id(anchor): {key_id(anchor)} for anchor in trust}
    for authority in below:
        found.setdefault(key_id(authority), set()).update(
            key_id(anchor) for anchor in trust if was_issued_by(authority, anchor)
        )
    return {key: frozenset(anchors) for key, anchors in found.items()}


def _check_lists(revocations: Revocations, trust: TrustBundle, now: datetime, before: Snapshot | None) -> None:
    """Raise TrustError for lists that would let in who must stay out."""
    for found in revocations.lists.values():
        if now >= found.next_update:
            raise TrustError(
                f"the revocation list of {found.issuer} is stale since {found.next_update:%Y-%m-%d %H:%M} UTC: "
                "publish it again with 'handclasp-pki crl'"
            )
        if found.this_update > now + _CLOCKS_DIFFER:
            raise TrustError(f"the revocation list of {found.issuer} is from the future: check this machine's clock")
    if before is None:
        return
    # Somebody who can take a list away, or put an old one back, must not undo a revocation by it.
    trusted = {key_id(anchor) for anchor in trust}
    for key, known in before.revocations.lists.items():
        found_now = revocations.lists.get(key)
        if found_now is None and before.vouchers.get(key, frozenset()) & trusted:
            raise TrustError(f"the revocation list of {known.issuer} is gone: put it back, or restart to do without")
        if found_now is not None and found_now.number < known.number:
            raise TrustError(
                f"the revocation list of {known.issuer} is number {found_now.number}, older than number {known.number}"
            )
