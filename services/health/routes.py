"""`GET /healthz`."""

from __future__ import annotations

from quart import Blueprint

from services.health.service import check

health = Blueprint("health", __name__)


@health.get("/healthz")
async def healthz() -> dict[str, str]:
    return check()
