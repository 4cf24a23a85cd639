"""Connect's own client for Node against our server: another implementation of all three protocols, by their authors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT
from tests.support.tools import require
from tests.support.trust import trusting

SCRIPT = Path(__file__).parent / "interop" / "connect.mjs"
MODULES = ROOT / ".node" / "node_modules"


def modules() -> Path:
    """Where `.ci/run` has put them."""
    if not (MODULES / "@connectrpc" / "connect-node").is_dir():
        message = "connect-node is missing: .ci/run has the npm install that brings it"
        if "connect-node" in os.environ.get("HANDCLASP_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return MODULES


def test_every_way_of_connect_node(tmp_path: Path) -> None:
    """Twenty ways (protocol, codec, HTTP version, compression) of eleven calls; canonical codes of what fails."""
    node, where = require("node"), modules()
    descriptors = tmp_path / "contracts.binpb"
    buf = Path(sys.executable).with_name("buf")
    subprocess.run([buf, "build", "-o", descriptors], cwd=ROOT / "services" / "contracts", check=True)
    with trusting(tmp_path, app="services.app:app") as there:
        tom = there.client("tom")
        done = subprocess.run(
            [node, SCRIPT, where, descriptors, tom.folder, f"https://localhost:{tom.port}", "tom@example.com"],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in there.server.log()
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in told if not line["ok"]] == []
    assert len(told) == 20 * 11
