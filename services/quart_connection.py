"""Quart's HTTP connection, without the two tasks that it starts for each request.

Quart runs a request's handler in one task and listens for the client's end in another: half of what Quart costs. Our
transport says by a call that the client has left (`when_left`), so the handler runs in the request's own task, and is
cancelled from there. What an application sees is the same; where there is no such call, or the request has a body that
is still on its way, it is Quart's own class that answers. It is put in place by Quart's public hook, `asgi_http_class`.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

from quart.asgi import ASGIHTTPConnection
from quart.debug import traceback_response
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from quart import Quart
    from quart.typing import ResponseTypes
    from quart.wrappers import Request


def make_lean(app: Quart) -> None:
    """Have a Quart application answer in one task a request, unless it has a connection class of its own."""
    if app.asgi_http_class is ASGIHTTPConnection:
        app.asgi_http_class = HTTPConnection


class HTTPConnection(ASGIHTTPConnection):
    """One request: as Quart's own, in the task that it is called in."""

    async def __call__(self, receive: Any, send: Any) -> None:
        """Answer the request. Where its client leaves before it is answered, the handler is cancelled."""
        ours: dict[str, Any] = cast("dict[str, Any]", self.scope["extensions"]).get("handclasp", {})
        when_left = ours.get("when_left")
        if when_left is None or not ours["whole"]:
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)
        if (await receive())["type"] == "http.disconnect":
            return
        request.body.set_complete()
        task = cast("asyncio.Task[None]", asyncio.current_task())
        left = False

        def leave() -> None:
            nonlocal left
            if not left and asyncio.current_task() is not task:  # who sends to nobody hears of it from `send`
                left = True
                task.cancel()

        when_left(leave)
        try:
            await self.handle_request(request, send)
        except asyncio.CancelledError:
            if not left or task.cancelling() > 1:  # somebody else's wish too
                raise
        finally:
            when_left(None)
            if left:
                task.uncancel()

    def _create_request_from_scope(self, send: Any) -> Request:
        """The request, as Quart's own makes it; its fields were checked when they were received."""
        scope = self.scope
        root_path, path = scope.get("root_path", ""), scope["path"]
        if root_path or not path.startswith("/") or scope["http_version"] == "1.0":
            return super()._create_request_from_scope(send)
        client = scope.get("client") or ("<local>",)
        fields = [("Remote-Addr", client[0])]
        fields += [(_title(name), value.decode("latin1")) for name, value in scope["headers"]]
        return self.app.request_class(
            scope["method"],
            scope["scheme"],
            path,
            scope["query_string"],
            _Received(fields),
            root_path,
            scope["http_version"],
            max_content_length=self.app.config["MAX_CONTENT_LENGTH"],
            body_timeout=self.app.config["BODY_TIMEOUT"],
            send_push_promise=partial(self._send_push_promise, send),
            scope=scope,
        )

    async def handle_request(self, request: Request, send: Any) -> None:
        """Have the application answer, and send what it says within the time that it has for it."""
        try:
            response = await self.app.handle_request(request)
        except Exception as error:
            if not (self.app.debug or self.app.testing):
                raise
            response = await traceback_response(error)
        if isinstance(response, Response) and response.timeout != Ellipsis:
            patience = cast("float | None", response.timeout)
        else:
            patience = self.app.config["RESPONSE_TIMEOUT"]
        try:
            async with asyncio.timeout(patience):
                await self._send_response(send, response)
        except TimeoutError:
            pass

    async def _send_response(self, send: Any, response: ResponseTypes) -> None:
        """Send a response; one that is there as a whole in two messages, not three."""
        body = response.response
        if not isinstance(body, DataBody):
            await super()._send_response(send, response)
            return
        fields = [(_encoded(name), value.encode()) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
        await send({"type": "http.response.body", "body": body.data[body.begin : body.end], "more_body": False})


class _Received(Headers):
    """Header fields as they are: werkzeug would look for line breaks in each."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__()
        self._list = fields


@lru_cache(maxsize=256)
def _title(name: bytes) -> str:
    return name.decode("latin1").title()


@lru_cache(maxsize=256)
def _encoded(name: str) -> bytes:
    return name.lower().encode()
