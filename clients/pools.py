"""The connections of a session: one pool for each credential that the folder has held, and the newest for what is new.

The folder is looked at again before a request, at most every quarter of a second. Where it holds another credential or
trust, the next request goes out under that; the pool before is closed once nothing is under way in it. A folder that
cannot be used just now changes nothing: the credential before goes on, and the log says why, once.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from clients.errors import CredentialProblem
from clients.tls import ClientContext, HTTPVersion, client_context
from pki.credential import locate
from pki.errors import PKIError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("handclasp.client")

LOOK = 0.25
"""Seconds between two looks at the folder."""

H = TypeVar("H")
"""What asks: `httpx.Client` or `httpx.AsyncClient`."""


@dataclass(eq=False)
class Pool(Generic[H]):
    """Connections under one credential."""

    context: ClientContext
    http: H
    under_way: int = 0
    proven: bool = False
    """Whether a request was answered under this credential: the server lets it in."""


class Pools(Generic[H]):
    """The pool that requests are given, and those before it. Safe for use from several threads."""

    def __init__(self, folder: Path, version: HTTPVersion, make: Callable[[ClientContext], H]) -> None:
        """Load the folder; `make` makes what asks. Raises CredentialProblem."""
        self._folder, self._version, self._make = folder, version, make
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._looked = time.monotonic()
        self._current = self._load()
        self._before: list[Pool[H]] = []

    @property
    def current(self) -> Pool[H]:
        """The one that the next request is given."""
        return self._current

    def take(self) -> Pool[H]:
        """Begin a request. Every pool is given back."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK:
                self._looked = now
                self._look()
            self._current.under_way += 1
            return self._current

    def give_back(self, pool: Pool[H]) -> list[H]:
        """A request has ended. Return what has nothing more to do: it is to be closed."""
        with self._lock:
            pool.under_way -= 1
            done = [before for before in self._before if not before.under_way]
            self._before = [before for before in self._before if before.under_way]
            return [before.http for before in done]

    def all(self) -> list[H]:
        """Everything that is open."""
        with self._lock:
            return [pool.http for pool in (*self._before, self._current)]

    def _look(self) -> None:
        there = self._fingerprint()
        if there == self._seen:
            return
        self._seen = there
        try:
            fresh = self._load()
        except CredentialProblem as error:
            log.warning("%s; the credential before goes on", error)
            return
        self._before.append(self._current)
        self._current = fresh

    def _load(self) -> Pool[H]:
        context = client_context(self._folder, self._version)
        return Pool(context, self._make(context))

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        try:
            paths = locate(self._folder)
            for path in (paths.certificate, paths.key, paths.trust):
                status = path.stat()
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except (PKIError, OSError):
            return ()
        return tuple(found)
