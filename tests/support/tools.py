"""Programs that a test needs and a machine may lack."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_PACKAGES = {
    "curl": "curl",
    "bash": "bash",
    "zsh": "zsh",
    "fish": "fish",
    "openssl": "openssl",
    "go": "golang",
    "node": "nodejs",
    "java": "default-jdk-headless",
    "postgresql": "postgresql",
    "chromium": "chromium",
    "certutil": "libnss3-tools",
    "pk12util": "libnss3-tools",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
    "systemd-sysusers": "systemd",
}
# A server that is no command: what to look for, and where Debian keeps it, the newest version last.
_PROGRAMS = {"postgresql": "postgres"}
_FOLDERS = {"postgresql": "/usr/lib/postgresql/*/bin"}


def require(tool: str) -> str:
    """Return where the program is. Without it the test skips; where HANDCLASP_REQUIRE names it, the test fails."""
    program = _PROGRAMS.get(tool, tool)
    found = _in_folders(tool, program) or shutil.which(program)
    if found:
        return found
    message = f"{tool} is missing: apt-get install {_PACKAGES.get(tool, tool)}"
    if tool in os.environ.get("HANDCLASP_REQUIRE", "").split(","):
        pytest.fail(message)
    pytest.skip(message)


def _in_folders(tool: str, program: str) -> str | None:
    if tool not in _FOLDERS:
        return None
    pattern = Path(_FOLDERS[tool], program)
    there = sorted(Path("/").glob(str(pattern.relative_to("/"))), key=lambda path: path.parent.parent.name.zfill(4))
    return str(there[-1]) if there else None


def ours(command: str) -> str:
    """Where a command of this project is: beside the interpreter that runs the tests."""
    return str(Path(sys.executable).with_name(command))
