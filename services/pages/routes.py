"""`GET /authority`, and what it is told while it is open: `GET /authority/events`."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from quart import Blueprint, Response, render_template, request, stream_with_context

from pki.errors import PKIError
from services.overview import KEY, Overview
from services.pages.rendering import FIELDS, page
from services.pages.service import live, stock, trust
from services.pages.text import visible
from services.pages.timeline import timeline
from services.peer import current_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.pages.stocktaking import Stocktaking

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/pages")

_BEAT = 1.0
"""Seconds between two looks at what has changed."""

_REST = 5
"""Beats after which the page is told anyway, of how long things last, and of the inventory."""

_MOST_WORDS = 100


@pages.get("/authority")
async def authority() -> Response:
    overview = _overview()
    if overview is None or not overview.guarded:
        return await page("closed", 403, page="authority")
    words = request.args.get("q", "").strip()[:_MOST_WORDS]
    now = datetime.now(UTC)
    return await page(
        "authority",
        page="authority",
        who=visible(current_peer().identity.name),
        now=f"{now:%H:%M:%S} UTC",
        events="/authority/events" + (f"?{urlencode({'q': words})}" if words else ""),
        live=live(overview, now),
        trust=trust(overview, now),
        **await _inventory(overview, words),
    )


@pages.get("/authority/events")
async def events() -> Response:
    """Server-Sent Events: `live` and `inventory`, each with the HTML of its part of the page."""
    overview = _overview()
    if overview is None or not overview.guarded:
        return _words("a policy has to say who may see this\n", 403)
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _words(
            "only pages of this server are told\n", 403
        )  # another site's could not read it, and would hold it
    name = current_peer().identity.name
    if not overview.watching.has_room_for(name):
        return _words("too many look at once: close a page, and reload\n", 503)
    words = request.args.get("q", "").strip()[:_MOST_WORDS]
    parts = stream_with_context(_events)(overview, name, words)
    told = Response(parts, content_type="text/event-stream", headers=FIELDS)
    told.timeout = None  # it lasts as long as somebody looks
    return told


async def _events(overview: Overview, name: str, words: str) -> AsyncIterator[bytes]:
    """Parts of the page whenever they differ, until the server stops.

    It ends as well when the trust or the policy changes: whoever looks has to ask again, and is judged anew.
    """
    generation, seen, shown = overview.snapshot().generation, "", ""
    with overview.watching.one(name) as room:
        for beat in itertools.count():
            if not room or overview.stopping() or overview.snapshot().generation != generation:
                return
            part = await _live_part(overview, datetime.now(UTC))
            if part != seen or beat % _REST == 0:  # a word now and then: who is gone is found out
                seen = part
                yield _event("live", part)
            if beat % _REST == 0:
                part = await _part("_inventory", **await _inventory(overview, words))
                if part != shown:
                    shown = part
                    yield _event("inventory", part)
            await asyncio.sleep(_BEAT)


async def _live_part(overview: Overview, now: datetime) -> str:
    """Laid out once for all who look at it: anew when something has happened, and every few beats."""
    watching, moment = overview.watching, (overview.changes, overview.snapshot().generation, now.timestamp() // _REST)
    if watching.moment != moment:
        watching.moment = moment
        watching.shown = await _part("_live", live=live(overview, now), trust=trust(overview, now))
    return watching.shown


def _words(line: str, status: int) -> Response:
    return Response(line, status, content_type="text/plain; charset=utf-8")


def _event(name: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"event: {name}\n{lines}\n".encode()


async def _part(template: str, **values: Any) -> str:
    return await render_template(f"pages/{template}.html", **values)


async def _inventory(overview: Overview, words: str) -> dict[str, Any]:
    """What the template of the inventory needs; why there is none, where there is none."""
    if overview.state is None:
        why = "The authority is not on this machine: handclasp-serve --state DIR, or HANDCLASP_STATE, says where it is."
        return {"stock": None, "why": why, "words": words}
    try:
        survey = await _stocktaking(overview.state, overview.database).survey(words)
    except PKIError as error:
        return {"stock": None, "why": f"The inventory cannot be read: {error}", "words": words}
    return {"stock": stock(survey), "timeline": timeline(survey), "words": words}


@cache
def _stocktaking(state: Path, database: str | None) -> Stocktaking:
    """Made for the first who looks: until then nobody needs what it imports."""
    from services.pages.stocktaking import Stocktaking

    return Stocktaking(state, database)


def _overview() -> Overview | None:
    """None where another server runs this application: it knows nobody's certificate, and does not get here."""
    return cast("Overview | None", request.scope.get("state", {}).get(KEY))
