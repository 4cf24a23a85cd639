"""Where Snapshots come from: the credential folder, watched while the server runs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from pki.credential import load_folder, locate
from pki.errors import CredentialError, PKIError
from pki.identity import Purpose, has_purpose
from services.transport.context import TLSPolicy, server_context
from services.transport.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from services.transport.engine import Config

log = structlog.get_logger("handclasp.source")

POLL = 0.25
"""Seconds between two looks at the folder. A look is three `stat` calls: it needs no notification service, and sees
Kubernetes' `..data` swap, a rename and a plain overwrite alike."""

_Fingerprint = tuple[tuple[str, int, int, int], ...]


class CredentialSource:
    """Holds the current Snapshot, and replaces it when the folder holds another credential or trust that is sound.

    Reload is all or nothing: a candidate that does not validate changes nothing, is reported once, and the Snapshot
    before it goes on serving. Not safe for use from several threads; reading `snapshot` is.
    """

    def __init__(self, folder: Path, config: Config, policy: TLSPolicy = TLSPolicy.DEFAULT) -> None:
        """Load the first Snapshot.

        Raises:
            PKIError: the folder holds no credential and trust that this server can work with.
        """
        self.folder = folder
        self._config = config
        self._policy = policy
        self._seen = self._fingerprint()
        self.snapshot = self._load(1)

    async def watch(self) -> None:
        """Look at the folder until cancelled. Loading runs in a thread: the event loop goes on serving."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL)
            seen = self._fingerprint()
            if seen == self._seen:
                continue
            self._seen = seen
            started = time.monotonic()
            try:
                snapshot = await loop.run_in_executor(None, self._load, self.snapshot.generation + 1)
            except PKIError as error:
                log.error("reload refused: the credential before it goes on serving", reason=str(error))  # noqa: TRY400
                continue
            except Exception:
                log.exception("reload failed: the credential before it goes on serving")
                continue
            self.snapshot = snapshot  # one assignment: a connection sees the old or the new, never a mixture
            log.info(
                "reloaded",
                generation=snapshot.generation,
                serial=format(snapshot.credential.leaf.serial_number, "x"),
                expires=snapshot.credential.leaf.not_valid_after_utc.isoformat(),
                ms=round((time.monotonic() - started) * 1000, 1),
            )

    def _load(self, generation: int) -> Snapshot:
        credential, trust = load_folder(self.folder)
        leaf, now = credential.leaf, datetime.now(UTC)
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
        return Snapshot(
            credential=credential,
            trust=trust,
            generation=generation,
            context=server_context(self._config, credential, trust, self._policy),
            server_cert=leaf.public_bytes(Encoding.PEM).decode("ascii"),
        )

    def _fingerprint(self) -> _Fingerprint:
        try:
            paths = locate(self.folder)
            return tuple(
                (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
                for path in (paths.certificate, paths.key, paths.trust)
                for status in (path.stat(),)
            )
        except (OSError, PKIError):
            return ()
