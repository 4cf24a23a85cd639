"""`handclasp-serve MODULE:ATTRIBUTE` serves any application, and tells each who calls."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clients import http1, http2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server

APPS = ["fastapi_app", "starlette_app", "plain_app", "flask_app", "quart_app"]


@pytest.mark.parametrize("app", APPS)
def test_an_application_reads_its_caller(start: Callable[..., Server], app: str) -> None:
    """FastAPI, Starlette, Quart and no framework from the scope's TLS extension or Peer; Flask from current_peer()."""
    server = start(app=f"tests.conformance._apps:{app}")
    for client in (http1.Client, http2.Client):
        with client(f"https://localhost:{server.port}", server.client) as session:
            reply = session.get("/")
            assert (reply.status, reply.text) == (200, "alice@example.com CN=alice")


@pytest.mark.parametrize(
    ("app", "words", "code"),
    [
        ("nowhere.to_be:found", "there is no module 'nowhere'", 2),
        ("tests.conformance._apps:missing", "has no attribute 'missing'", 2),
        ("tests.conformance._apps:failing_app", "the database is away", 1),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(credentials: Path, app: str, words: str, code: int) -> None:
    """Before anything listens: no ready line, one line on stderr, no traceback."""
    command = [
        sys.executable,
        "-m",
        "services",
        app,
        "--credential",
        credentials / "localhost",
        "--bind",
        "localhost:0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
