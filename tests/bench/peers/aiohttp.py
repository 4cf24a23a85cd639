"""aiohttp's server: HTTP/1.1 alone, a handler of its own in the place of an ASGI application, under uvloop.

The caller is in the certificate that `ssl` gives for the transport, so its greeting has the name.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from tests.bench import app
from tests.bench.contestants import IDLE


async def hello(request: web.Request) -> web.Response:
    transport = request.transport
    assert transport is not None
    names = transport.get_extra_info("peercert")["subjectAltName"]
    return web.Response(text=f"Hello {names[0][1]}!")


async def send(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = app.BODY_BYTES
    await response.prepare(request)
    for block in app.blocks():
        await response.write(block)
    return response


async def take(request: web.Request) -> web.Response:
    count = 0
    async for piece in request.content.iter_any():
        count += len(piece)
    return web.Response(text=str(count))


def main(port: int, credential: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(credential / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(credential / "tls.crt", credential / "tls.key")
    served = web.Application(client_max_size=2 * app.BODY_BYTES)
    served.add_routes([web.get("/", hello), web.get("/download", send), web.post("/upload", take)])
    web.run_app(
        served,
        host="127.0.0.1",
        port=port,
        ssl_context=context,
        access_log=None,
        keepalive_timeout=IDLE,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
