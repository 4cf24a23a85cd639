"""`GET /whoami`."""

from __future__ import annotations

import json

from quart import Blueprint, Response, request

from services.peer import current_peer
from services.whoami.service import describe

whoami = Blueprint("whoami", __name__)


@whoami.get("/whoami")
async def who_am_i() -> Response:
    document = json.dumps(describe(current_peer(), request.http_version), indent=2)  # people read it, with curl
    return Response(document + "\n", content_type="application/json")
