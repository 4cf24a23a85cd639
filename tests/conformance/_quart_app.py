"""One Quart application twice: with Quart's own connection class, and with the lean one that it is given here."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from quart import Quart, Response, abort, request, stream_with_context
from quart.asgi import ASGIHTTPConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ended: Counter[str] = Counter()


class OwnConnection(ASGIHTTPConnection):
    """A class of the application's own: it is left alone."""


def make() -> Quart:
    app = Quart("twice", static_folder=None)
    app.logger.disabled = True  # what it raises is on purpose

    @app.after_request
    async def remember(response: Response) -> Response:
        response.headers["x-after"] = "1"
        return response

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        ended[f"{request.path} {type(error).__name__}"] += 1

    @app.get("/plain")
    async def plain() -> str:
        return f"{request.method} {request.host.partition(':')[0]} {request.args.get('q')} {request.headers['x-one']}"

    @app.get("/fields")
    async def fields() -> dict[str, Any]:
        told = [field for field in request.headers if field[0] != "Remote-Addr"]
        return {"all": told, "one": request.headers.getlist("X-TWO"), "path": request.full_path, "url": request.path}

    @app.get("/cookies")
    async def cookies() -> Response:
        response = Response("é", status=201, content_type="text/plain; charset=utf-8")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.get("/empty")
    async def empty() -> tuple[str, int]:
        return "", 204

    @app.get("/raises")
    async def raises() -> str:
        raise RuntimeError("on purpose")

    @app.get("/aborts")
    async def aborts() -> str:
        abort(418)

    @app.get("/stream")
    async def stream() -> Response:
        @stream_with_context
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(5):
                await asyncio.sleep(0)
                yield f"{number} {request.path};".encode()

        return Response(pieces(), content_type="text/plain")

    @app.get("/slow-stream")
    async def slow_stream() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"."
                    await asyncio.sleep(0.05)
            finally:
                ended["pieces"] += 1

        response = Response(pieces())
        response.timeout = 0.4 if "timeout" in request.args else None
        return response

    @app.get("/range")
    async def ranged() -> Response:
        response = Response(b"0123456789")
        await response.make_conditional(request, accept_ranges="bytes", complete_length=10)
        return response

    @app.get("/waits")
    async def waits() -> str:
        ended["waits began"] += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended["waits cancelled"] += 1
            raise
        return "never"

    @app.post("/echo")
    async def echo() -> bytes:
        return await request.get_data()

    @app.get("/ended")
    async def told() -> dict[str, Any]:
        return dict(ended)

    return app


lean = make()
own = make()
own.asgi_http_class = OwnConnection
