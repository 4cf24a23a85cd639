"""The client for HTTP/1.1."""

from clients.rpc.calls import Protocol
from clients.session import AsyncSession, SyncSession
from clients.tls import HTTPVersion

__all__ = ["AsyncClient", "Client"]


class AsyncClient(AsyncSession):
    """Calls a server over HTTP/1.1; HTTP/2 is never negotiated. RPC by Connect."""

    version = HTTPVersion.HTTP1
    default_protocol = Protocol.CONNECT


class Client(SyncSession):
    """The same, synchronous."""

    version = HTTPVersion.HTTP1
    asynchronous = AsyncClient
