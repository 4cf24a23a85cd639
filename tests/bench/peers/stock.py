"""Stock Hypercorn, as it comes: one of its workers, its own TLS by `ssl`, in one process, with a client required.

asyncio is the worker that it takes where nobody says which, uvloop its fast one.

Different from its defaults only where the comparison would else be void or unfair to it: no limit of requests a
connection (at 1,000 it loses streams), a long keep-alive time (5 s would end the idle connections while they are
weighed), no Server header (ours sends none).
"""

from __future__ import annotations

import argparse
import ssl
from pathlib import Path

from hypercorn.asyncio.run import asyncio_worker, uvloop_worker
from hypercorn.config import Config

from tests.bench.contestants import IDLE


def config_for(app: str, port: int, credential: Path) -> Config:
    """Describe the listener: the same files, TLS and ALPN as ours."""
    config = Config()
    config.application_path = app
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile = str(credential / "tls.crt")
    config.keyfile = str(credential / "tls.key")
    config.ca_certs = str(credential / "ca.crt")
    config.verify_mode = ssl.CERT_REQUIRED
    config.alpn_protocols = ["h2", "http/1.1"]
    config.backlog = 2048
    config.keep_alive_max_requests = 2**31
    config.keep_alive_timeout = IDLE
    config.include_server_header = False
    config.accesslog = None
    config.loglevel = "WARNING"
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app")
    parser.add_argument("port", type=int)
    parser.add_argument("credential", type=Path)
    parser.add_argument("--worker", choices=("uvloop", "asyncio"), default="asyncio")
    given = parser.parse_args()
    (uvloop_worker if given.worker == "uvloop" else asyncio_worker)(config_for(given.app, given.port, given.credential))


if __name__ == "__main__":
    main()
