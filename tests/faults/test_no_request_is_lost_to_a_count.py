"""Thousands of requests on one connection: Hypercorn ends it after a thousand, and loses those in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.load import Tally, hammer

if TYPE_CHECKING:
    from tests.support.server import Server


def test_six_thousand_requests_on_one_connection(server: Server) -> None:
    """20 streams at a time, one connection from the first to the last, no error."""
    tally = Tally()
    asyncio.run(hammer(lambda: server.port, lambda: server.context("h2"), tally, total=6_000))
    assert tally.failed == []
    assert (tally.answered, tally.refused, tally.connections) == (6_000, 0, 1)


def test_requests_on_one_http1_connection(server: Server) -> None:
    """The same over HTTP/1.1: 1,200."""
    with server.h1() as line:
        for _ in range(1_200):
            assert line.get("/").status == 200
