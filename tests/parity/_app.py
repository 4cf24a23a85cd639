"""An application that says who calls, on HTTP and on WebSocket: as the scope has it, and as `current_peer()` has it.

`/whoami` and the RPC services are the product's own.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from services.app import app as greeter
from services.peer import Peer, current_peer


def described(peer: Peer) -> dict[str, Any]:
    """Every field of the peer's identity, ready for JSON."""
    values = {field.name: getattr(peer.identity, field.name) for field in fields(peer.identity)}
    return {
        name: value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def answer(scope: Any) -> bytes:
    peer = scope["extensions"]["handclasp"]["peer"]
    assert peer is current_peer()
    tls = scope["extensions"]["tls"]
    document = json.dumps({"identity": described(peer), "tls": tls, "http_version": scope["http_version"]})
    if scope["path"] == "/careless":  # what middleware may do, and the next request must not see
        tls["client_cert_chain"].clear()
        tls.clear()
    return document.encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan" or scope["path"].startswith(("/whoami", "/handclasp.")):
        await greeter(scope, receive, send)
    elif scope["type"] == "http":
        body = answer(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": answer(scope).decode()})
        await send({"type": "websocket.close"})
