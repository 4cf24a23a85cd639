"""`GET /livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from quart import Quart, Response, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.admin.service import Readiness


def create_admin(
    readiness: Readiness, exposition: Callable[[str], tuple[bytes, str]], answers_to: Callable[[str], bool]
) -> Quart:
    """An application of its own: nothing of it is reachable on the port that demands certificates, or the other way.

    `answers_to` says of a host (the Host field) whether it is one of ours; others are answered 421 (RFC 9110, 15.5.20).
    """
    app = Quart("services.admin", static_folder=None)

    @app.before_request
    async def misdirected() -> Response | None:
        ours = answers_to(request.headers.get("host", ""))
        return None if ours else _text("ask for localhost: another name may be anybody's", 421)

    @app.get("/livez")
    async def live() -> Response:
        return _text("ok")

    @app.get("/readyz")
    async def ready() -> Response:
        objection = readiness.objection(datetime.now(UTC))
        return _text("ok") if objection is None else _text(objection, 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        # Summing up the files of many workers takes its time: in a thread, the loop serves on.
        body, content_type = await asyncio.to_thread(exposition, request.headers.get("accept", ""))
        return Response(body, content_type=content_type, headers={"cache-control": "no-store"})

    return app


def _text(line: str, status: int = 200) -> Response:
    return Response(
        f"{line}\n", status, content_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"}
    )
