"""`handclasp.greeter.v1.GreeterService`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from services.contracts.handclasp.greeter.v1.greeter_connect import GreeterService
from services.contracts.handclasp.greeter.v1.greeter_pb import ConverseResponse, GreetResponse, SayHelloResponse
from services.greeter.service import DEFAULT_GREETING, InvalidGreetingError, greet
from services.peer import current_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.contracts.handclasp.greeter.v1.greeter_pb import ConverseRequest, GreetRequest, SayHelloRequest

_MOST = 100_000
"""Greetings in answer to one request."""


class Greeter(GreeterService):
    """Greets the caller of the RPC."""

    async def say_hello(self, request: SayHelloRequest, ctx: Any, /) -> SayHelloResponse:  # noqa: ARG002
        return SayHelloResponse(message=_greet(request.greeting))

    async def greet(self, request: GreetRequest, ctx: Any, /) -> AsyncIterator[GreetResponse]:  # noqa: ARG002
        if request.times > _MOST:
            raise ConnectError(Code.INVALID_ARGUMENT, f"at most {_MOST:,} greetings at once")
        message = _greet(request.greeting)
        for _ in range(request.times or 1):
            yield GreetResponse(message=message)

    async def converse(
        self,
        request: AsyncIterator[ConverseRequest],
        ctx: Any,  # noqa: ARG002
        /,
    ) -> AsyncIterator[ConverseResponse]:
        async for said in request:
            yield ConverseResponse(message=_greet(said.greeting))


def _greet(greeting: str) -> str:
    try:
        return greet(current_peer().identity, greeting or DEFAULT_GREETING)
    except InvalidGreetingError as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
