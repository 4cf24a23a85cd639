"""MemoryDenyWriteExecute=yes: the server cannot work under it, and says so instead of ending in a traceback."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1
"""prctl(2), Linux 6.3: what systemd's setting is made of where the kernel has it. It holds over fork and exec."""


def test_it_is_said_in_one_line(credentials: Path) -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    arguments = ["--credential", str(credentials / "localhost"), "--bind", "localhost:0"]
    if not _can_deny(prctl):
        pytest.skip("this kernel has no PR_SET_MDWE: it takes Linux 6.3")
    done = subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        preexec_fn=lambda: prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0),
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("leave MemoryDenyWriteExecute= out of its systemd unit")


def _can_deny(prctl: ctypes._NamedFuncPointer) -> bool:
    """Whether the kernel knows it: asked in a process of its own, whom it would bind."""
    pid = os.fork()
    if not pid:
        os._exit(0 if prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0
