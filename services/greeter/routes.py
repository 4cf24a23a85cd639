"""`GET /` and `GET /greet?greeting=Hi`."""

from __future__ import annotations

from quart import Blueprint, Response, request

from services.greeter.service import DEFAULT_GREETING, InvalidGreetingError, greet
from services.pages.rendering import card_page, prefers_html
from services.peer import current_peer

greeter = Blueprint("greeter", __name__)


@greeter.get("/")
async def hello() -> Response:
    """A line of text; in a browser a page."""
    peer = current_peer()
    answer = await card_page(peer) if prefers_html() else _text(greet(peer.identity))
    answer.headers["vary"] = "accept"
    return answer


@greeter.get("/greet")
async def greet_as_asked() -> Response:
    try:
        return _text(greet(current_peer().identity, request.args.get("greeting", DEFAULT_GREETING)))
    except InvalidGreetingError as error:
        return _text(str(error), status=400)


def _text(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="text/plain; charset=utf-8")
