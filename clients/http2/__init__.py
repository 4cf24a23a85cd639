"""The client for HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.http2.transport import HTTP2Transport
from clients.rpc.calls import Protocol
from clients.session import AsyncSession, SyncSession
from clients.tls import HTTPVersion

if TYPE_CHECKING:
    import httpx

    from clients.tls import ClientContext

__all__ = ["AsyncClient", "Client"]


class AsyncClient(AsyncSession):
    """Calls a server over HTTP/2; it never falls back to HTTP/1.1. RPC by gRPC, or by Connect."""

    version = HTTPVersion.HTTP2
    default_protocol = Protocol.GRPC

    def _transport(self, context: ClientContext) -> httpx.AsyncBaseTransport:
        return HTTP2Transport(context)


class Client(SyncSession):
    """The same, synchronous."""

    version = HTTPVersion.HTTP2
    asynchronous = AsyncClient
