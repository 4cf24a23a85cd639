"""A client of either HTTP version: httpx, locked to one server, one authority and one credential.

The credential may change while it is used: see `clients.pools`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import httpx

from clients.api import (
    WHOAMI_PATH,
    Reply,
    WhoAmI,
    checked_path,
    greet_path,
    origin,
    read_greeting,
    read_whoami,
)
from clients.enrolling import FIELDS, RENEW_PATH, Application
from clients.errors import ConnectionLost
from clients.pools import Pool, Pools
from clients.retrying import ATTEMPTS, pause
from clients.rpc.blocking import BlockingCalls
from clients.rpc.calls import Calls
from clients.rpc.errors import raise_for_connect
from clients.tls import HTTPVersion
from clients.tracing import asking
from clients.translation import translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager
    from os import PathLike

    from clients.tls import ClientContext
    from pki.credential import Credential

CONNECT_TIMEOUT = 5.0
"""Seconds until there must be a connection; or as long as an answer has, where that is shorter, or was made longer."""
TIMEOUT = 30.0
"""Seconds that the server may be silent while an answer is awaited."""


class _Session:
    """What the synchronous and the asynchronous client have in common."""

    version: ClassVar[HTTPVersion]

    def __init__(self, url: str, credential: str | PathLike[str], *, timeout: float = TIMEOUT) -> None:
        """Load the credential folder; no connection is made yet.

        Raises:
            InvalidRequest: the URL is not `https://HOST:PORT`.
            CredentialProblem: the folder cannot be used.
        """
        self.url = origin(url)
        self.folder = Path(credential)
        self._timeout = timeout

    def _settings(self, context: ClientContext) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "verify": context,
            "http1": self.version is HTTPVersion.HTTP1,
            "http2": self.version is HTTPVersion.HTTP2,
            "trust_env": False,  # no proxy, no SSL_CERT_FILE, no .netrc
            "follow_redirects": False,  # our certificate is for this server
            "timeout": httpx.Timeout(
                self._timeout, connect=self._timeout if self._timeout > TIMEOUT else min(self._timeout, CONNECT_TIMEOUT)
            ),
        }

    def _translated(self, pool: Pool[Any]) -> AbstractContextManager[None]:
        return translate(self.url, pool.context, self.folder.absolute().name)


def _reply(response: httpx.Response) -> Reply:
    return Reply(
        status=response.status_code,
        http_version=response.http_version.removeprefix("HTTP/"),
        headers=dict(response.headers),
        body=response.content,
    )


def _may_repeat(pool: Pool[Any], attempt: int) -> bool:
    """Whether a GET whose connection was lost is sent again (RFC 9110 section 9.2.2).

    Not where the server has never answered under this credential: most likely it refuses it, and would again.
    """
    return pool.proven and attempt < ATTEMPTS


def _presented(pool: Pool[Any]) -> Credential:
    credential = pool.context.credential
    assert credential is not None, "a session has one"
    return credential


class SyncSession(_Session, BlockingCalls):
    """A synchronous client; may be used from several threads. Close it, or use it as a context manager.

    Every method raises ClientError.
    """

    def __init__(self, url: str, credential: str | PathLike[str], *, timeout: float = TIMEOUT) -> None:
        _Session.__init__(self, url, credential, timeout=timeout)
        BlockingCalls.__init__(self, lambda: self.asynchronous(url, credential, timeout=timeout))
        self._pools = Pools(self.folder, self.version, lambda context: httpx.Client(**self._settings(context)))

    def get(self, path: str) -> Reply:
        """Ask for a path of the server, whatever the status of the answer."""
        path = checked_path(path)
        with asking(self.url, path) as request, self._pool() as pool:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with self._translated(pool):
                        reply = _reply(pool.http.get(path, headers=request.headers))
                    pool.proven = True
                    break
                except ConnectionLost:
                    if not _may_repeat(pool, attempt):
                        raise
                    time.sleep(pause(attempt))
            return request.answered(reply)

    def greet(self, greeting: str | None = None) -> str:
        """Be greeted by the name in our certificate."""
        return read_greeting(self.get(greet_path(greeting)))

    def whoami(self) -> WhoAmI:
        """Ask what the server knows of us."""
        return read_whoami(self.get(WHOAMI_PATH))

    def renew(self) -> None:
        """Have the server renew our credential, for a new key; the folder has it when this returns.

        RPCError where the server refuses, CredentialProblem where the folder cannot be written.
        """
        application = Application()
        with self._pool() as pool, self._translated(pool):
            response = pool.http.post(RENEW_PATH, content=application.renewal(), headers=FIELDS)
            raise_for_connect(_reply(response))
            application.renewed(response.content, _presented(pool)).save(self.folder)

    def close(self) -> None:
        """Close the connections."""
        self._end_calls()
        for http in self._pools.all():
            http.close()

    @contextmanager
    def _pool(self) -> Iterator[Pool[httpx.Client]]:
        pool = self._pools.take()
        try:
            yield pool
        finally:
            for http in self._pools.give_back(pool):
                http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSession(_Session, Calls):
    """An asynchronous client, for one event loop. Close it, or use it as an asynchronous context manager.

    Every method raises ClientError.
    """

    def __init__(self, url: str, credential: str | PathLike[str], *, timeout: float = TIMEOUT) -> None:
        super().__init__(url, credential, timeout=timeout)
        self._pools = Pools(self.folder, self.version, self._open)

    def _open(self, context: ClientContext) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._settings(context), transport=self._transport(context))

    def _transport(self, context: ClientContext) -> httpx.AsyncBaseTransport | None:  # noqa: ARG002 - for those who have one
        """What carries requests; None: httpx's own."""
        return None

    @asynccontextmanager
    async def _asker(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self._pool() as pool:
            with self._translated(pool):
                yield pool.http
            pool.proven = True

    async def get(self, path: str) -> Reply:
        """Ask for a path of the server, whatever the status of the answer."""
        path = checked_path(path)
        with asking(self.url, path) as request:
            async with self._pool() as pool:
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        with self._translated(pool):
                            reply = _reply(await pool.http.get(path, headers=request.headers))
                        pool.proven = True
                        break
                    except ConnectionLost:
                        if not _may_repeat(pool, attempt):
                            raise
                        await asyncio.sleep(pause(attempt))
            return request.answered(reply)

    async def greet(self, greeting: str | None = None) -> str:
        """Be greeted by the name in our certificate."""
        return read_greeting(await self.get(greet_path(greeting)))

    async def whoami(self) -> WhoAmI:
        """Ask what the server knows of us."""
        return read_whoami(await self.get(WHOAMI_PATH))

    async def renew(self) -> None:
        """Have the server renew our credential, for a new key; the folder has it when this returns.

        RPCError where the server refuses, CredentialProblem where the folder cannot be written.
        """
        application = Application()
        async with self._pool() as pool:
            with self._translated(pool):
                response = await pool.http.post(RENEW_PATH, content=application.renewal(), headers=FIELDS)
            raise_for_connect(_reply(response))
            renewed = application.renewed(response.content, _presented(pool))
        await asyncio.to_thread(renewed.save, self.folder)

    async def close(self) -> None:
        """Close the connections."""
        for http in self._pools.all():
            await http.aclose()

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool[httpx.AsyncClient]]:
        pool = self._pools.take()
        try:
            yield pool
        finally:
            for http in self._pools.give_back(pool):
                await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
