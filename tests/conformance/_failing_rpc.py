"""Handlers that fail in ways that nobody foresaw, with something in the error that nobody shall see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.contracts.handclasp.greeter.v1.greeter_connect import GreeterService, GreeterServiceASGIApplication
from services.contracts.handclasp.greeter.v1.greeter_pb import ConverseResponse, GreetResponse, SayHelloResponse
from services.endings import Endings
from services.rpc import WithRPC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "password=hunter2"


class Failing(GreeterService):
    async def say_hello(self, request: Any, ctx: Any, /) -> SayHelloResponse:
        raise RuntimeError(SECRET)

    async def greet(self, request: Any, ctx: Any, /) -> AsyncIterator[GreetResponse]:
        yield GreetResponse(message="so far")
        raise RuntimeError(SECRET)

    async def converse(self, request: Any, ctx: Any, /) -> AsyncIterator[ConverseResponse]:
        yield ConverseResponse(message="so far")
        raise RuntimeError(SECRET)


async def _web(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


_greeter = GreeterServiceASGIApplication(Failing(), interceptors=(Endings(),))
app = WithRPC(_web, {_greeter.path.removeprefix("/"): _greeter})
