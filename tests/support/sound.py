"""What a server's log does not hold, whatever its clients do."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

UNSOUND = re.compile(
    r"Traceback|never retrieved|never awaited|Fatal error|Exception in|Unhandled|was destroyed|Warning:|"
    r"connection failed|WebSocket failed"
)


@contextmanager
def stays_sound(server: Server) -> Iterator[None]:
    """Behind what happens inside, the server runs, and has logged nothing unsound."""
    assert server.port
    before = server.log_end()
    yield
    assert server.process.poll() is None, f"the server is gone; its log:\n{server.log(before)}"
    found = UNSOUND.search(server.log(before))
    assert found is None, f"in the log:\n{server.log(before)}"
