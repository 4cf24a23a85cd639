"""`GET /livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from quart import Quart, Response, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.admin.service import Readiness


def create_admin(readiness: Readiness, exposition: Callable[[str], tuple[bytes, str]]) -> Quart:
    """An application of its own: nothing of it is reachable on the port that demands certificates, or the other way."""
    app = Quart("services.admin", static_folder=None)

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
        return Response(body, content_type=content_type)

    return app


def _text(line: str, status: int = 200) -> Response:
    return Response(
        f"{line}\n", status, content_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"}
    )
