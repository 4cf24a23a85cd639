"""Asking the application of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.wire1 import Line1

if TYPE_CHECKING:
    import ssl

APP = "tests.deploy._app:app"


def asked(port: int, context: ssl.SSLContext) -> tuple[int, str]:
    """The process that answers, and the variables that it finds."""
    with Line1(port, context) as line:
        reply = line.get()
    assert reply.status == 200, reply
    process, _, names = bytes(reply.body).decode().partition(" ")
    return int(process), names
