"""Granian: HTTP and TLS in Rust (hyper, rustls), the application in one Python worker under uvloop.

Its backpressure, by default as much as the backlog, counts open connections too: here it is above all that are made.
"""

from __future__ import annotations

import sys
from pathlib import Path

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from tests.bench.contestants import CONNECTIONS


def main(app: str, port: int, credential: Path) -> None:
    Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        websockets=False,
        backlog=2048,
        backpressure=CONNECTIONS,
        ssl_cert=credential / "tls.crt",
        ssl_key=credential / "tls.key",
        ssl_ca=credential / "ca.crt",
        ssl_client_verify=True,
    ).serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
