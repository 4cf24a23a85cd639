"""The other contestant: a grpc.aio server with mTLS that gives the same answer to the same message.

python -m tests.bench.peers.grpc_aio PORT CREDENTIAL
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from services.contracts.handclasp.greeter.v1.greeter_pb import (
    GreetRequest,
    GreetResponse,
    SayHelloRequest,
    SayHelloResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE = "handclasp.greeter.v1.GreeterService"


def _hello(context: Any) -> str:
    return f"Hello {context.auth_context()['x509_subject_alternative_name'][0].decode()}!"


async def _say_hello(request: SayHelloRequest, context: Any) -> SayHelloResponse:
    return SayHelloResponse(message=_hello(context))


async def _greet(request: GreetRequest, context: Any) -> AsyncIterator[GreetResponse]:
    message = _hello(context)
    for _ in range(request.times):
        yield GreetResponse(message=message)


async def main(port: int, folder: Path) -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server()
    handlers = {
        "SayHello": grpc.unary_unary_rpc_method_handler(
            _say_hello, SayHelloRequest.from_binary, SayHelloResponse.to_binary
        ),
        "Greet": grpc.unary_stream_rpc_method_handler(_greet, GreetRequest.from_binary, GreetResponse.to_binary),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    ca, key, chain = ((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    credentials = grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
