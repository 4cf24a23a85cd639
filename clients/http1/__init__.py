"""The client for HTTP/1.1."""

from clients.session import AsyncSession, SyncSession
from clients.tls import HTTPVersion

__all__ = ["AsyncClient", "Client"]


class Client(SyncSession):
    """Calls a server over HTTP/1.1; HTTP/2 is never negotiated."""

    version = HTTPVersion.HTTP1


class AsyncClient(AsyncSession):
    """The same, asynchronous."""

    version = HTTPVersion.HTTP1
