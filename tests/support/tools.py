"""Programs that a test needs and a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest

_PACKAGES = {"curl": "curl", "openssl": "openssl", "go": "golang", "node": "nodejs"}


def require(tool: str) -> str:
    """Return where the program is. Without it the test skips; where HANDCLASP_REQUIRE names it, the test fails."""
    found = shutil.which(tool)
    if found:
        return found
    message = f"{tool} is missing: apt-get install {_PACKAGES.get(tool, tool)}"
    if tool in os.environ.get("HANDCLASP_REQUIRE", "").split(","):
        pytest.fail(message)
    pytest.skip(message)
