"""RPC by the contracts' messages: gRPC and Connect."""

from clients.rpc.calls import Codec, Protocol
from clients.rpc.method import Method

__all__ = ["Codec", "Method", "Protocol"]
