"""A client of either HTTP version: httpx, locked to one server, one authority and one credential."""

from __future__ import annotations

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
from clients.tls import HTTPVersion, client_context
from clients.tracing import asking
from clients.translation import translate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from os import PathLike

CONNECT_TIMEOUT = 5.0
"""Seconds until there must be a connection."""
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
        self._folder = Path(credential)
        self._context = client_context(self._folder, self.version)
        self._settings: dict[str, Any] = {
            "base_url": self.url,
            "verify": self._context,
            "http1": self.version is HTTPVersion.HTTP1,
            "http2": self.version is HTTPVersion.HTTP2,
            "trust_env": False,  # no proxy, no SSL_CERT_FILE, no .netrc
            "follow_redirects": False,  # our certificate is for this server
            "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        }

    def _translated(self) -> AbstractContextManager[None]:
        return translate(self.url, self._context, self._folder.absolute().name)


def _reply(response: httpx.Response) -> Reply:
    return Reply(
        status=response.status_code,
        http_version=response.http_version.removeprefix("HTTP/"),
        headers=dict(response.headers),
        body=response.content,
    )


class SyncSession(_Session):
    """A synchronous client; may be used from several threads. Close it, or use it as a context manager.

    Every method raises ClientError.
    """

    def __init__(self, url: str, credential: str | PathLike[str], *, timeout: float = TIMEOUT) -> None:
        super().__init__(url, credential, timeout=timeout)
        self._http = httpx.Client(**self._settings)

    def get(self, path: str) -> Reply:
        """Ask for a path of the server, whatever the status of the answer."""
        path = checked_path(path)
        with asking(self.url, path) as request, self._translated():
            return request.answered(_reply(self._http.get(path, headers=request.headers)))

    def greet(self, greeting: str | None = None) -> str:
        """Be greeted by the name in our certificate."""
        return read_greeting(self.get(greet_path(greeting)))

    def whoami(self) -> WhoAmI:
        """Ask what the server knows of us."""
        return read_whoami(self.get(WHOAMI_PATH))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSession(_Session):
    """An asynchronous client, for one event loop. Close it, or use it as an asynchronous context manager.

    Every method raises ClientError.
    """

    def __init__(self, url: str, credential: str | PathLike[str], *, timeout: float = TIMEOUT) -> None:
        super().__init__(url, credential, timeout=timeout)
        self._http = httpx.AsyncClient(**self._settings)

    async def get(self, path: str) -> Reply:
        """Ask for a path of the server, whatever the status of the answer."""
        path = checked_path(path)
        with asking(self.url, path) as request, self._translated():
            return request.answered(_reply(await self._http.get(path, headers=request.headers)))

    async def greet(self, greeting: str | None = None) -> str:
        """Be greeted by the name in our certificate."""
        return read_greeting(await self.get(greet_path(greeting)))

    async def whoami(self) -> WhoAmI:
        """Ask what the server knows of us."""
        return read_whoami(await self.get(WHOAMI_PATH))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
