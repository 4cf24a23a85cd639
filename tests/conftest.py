"""What tests of every kind share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgresql import inventory_url, postgresql_server, postgresql_url

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

__all__ = ["inventory_url", "memory_path", "postgresql_server", "postgresql_url"]


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder of this test's own, in memory where the machine has such: for those who write thousands of files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)
