"""The client for HTTP/2."""

from clients.session import AsyncSession, SyncSession
from clients.tls import HTTPVersion

__all__ = ["AsyncClient", "Client"]


class Client(SyncSession):
    """Calls a server over HTTP/2; it never falls back to HTTP/1.1."""

    version = HTTPVersion.HTTP2


class AsyncClient(AsyncSession):
    """The same, asynchronous."""

    version = HTTPVersion.HTTP2
