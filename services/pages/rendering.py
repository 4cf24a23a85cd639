"""Values to HTML, and the fields that keep a browser from doing anything with it but showing it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quart import Response, render_template, request

from services.pages.service import card

if TYPE_CHECKING:
    from services.peer import Peer

FIELDS = {
    # Nothing but what this server sends: no inline script or style, no other host, no frame around it.
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def prefers_html() -> bool:
    """Whether a person looks (RFC 9110, 12.5.1): whoever takes anything, as curl does, gets text."""
    return request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html"


async def page(template: str, status: int = 200, **values: Any) -> Response:
    """Lay out a whole page."""
    return Response(await render_template(f"pages/{template}.html", **values), status, FIELDS)


async def card_page(peer: Peer) -> Response:
    """Who the caller is, and over what."""
    return await page("card", page="card", card=card(peer, request.http_version, datetime.now(UTC)))
