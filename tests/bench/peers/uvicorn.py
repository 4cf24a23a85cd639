"""uvicorn: httptools for HTTP/1.1, zttp for HTTP/2, which it has no other way for; uvloop, `ssl`, no access log.

Its keep-alive time is long (5 s would end idle connections while they are weighed), and it sends no Server header.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import uvicorn

from tests.bench.contestants import IDLE


def main(app: str, port: int, credential: Path, protocol: str) -> None:
    over_http2 = {"http": "zttp", "http2": True} if protocol == "h2" else {"http": "httptools"}
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE,
        ssl_certfile=credential / "tls.crt",
        ssl_keyfile=str(credential / "tls.key"),
        ssl_ca_certs=str(credential / "ca.crt"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        **over_http2,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
