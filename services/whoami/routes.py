"""`GET /whoami`."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, request

from services.peer import current_peer
from services.whoami.service import describe

whoami = Blueprint("whoami", __name__)


@whoami.get("/whoami")
async def who_am_i() -> dict[str, Any]:
    return describe(current_peer(), request.http_version)
