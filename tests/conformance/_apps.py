"""The same small application in several frameworks: the caller's email, and the subject of its certificate."""

from __future__ import annotations

from typing import Any

import quart
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

from services.peer import current_peer


def caller(scope: Any) -> str:
    extensions = scope["extensions"]
    return f"{extensions['handclasp']['peer'].identity.name} {extensions['tls']['client_cert_name']}"


fastapi_app = FastAPI()


@fastapi_app.get("/", response_class=PlainTextResponse)
async def fastapi_hello(request: Request) -> str:
    return caller(request.scope)


@fastapi_app.get("/items/{number}")
async def fastapi_item(number: int) -> int:
    return number


async def starlette_hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(caller(request.scope))


starlette_app = Starlette(routes=[Route("/", starlette_hello)])

quart_app = quart.Quart(__name__)


@quart_app.get("/")
async def quart_hello() -> str:
    return caller(quart.request.scope)


flask_app = Flask(__name__)


@flask_app.get("/")
def flask_hello() -> str:
    peer = current_peer()
    return f"{peer.identity.name} {peer.subject}"


async def plain_app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": caller(scope).encode()})


async def failing_app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})
