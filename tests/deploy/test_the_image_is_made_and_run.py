"""The Containerfile's commands as they are, without a registry of images: the build, then a container of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_containerfile import instructions, last_stage
from tests.support.server import ROOT
from tests.support.tools import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def build_stage() -> str:
    """The first stage as a script: RUN as it is, COPY from the context."""
    lines = ["unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT"]
    for word, words in instructions()[1:]:
        if word == "FROM":
            break
        if word == "RUN":
            lines.append(words)
        elif word == "WORKDIR":
            lines.append(f"mkdir -p {words} && cd {words}")
        elif word == "COPY":
            *sources, target = words.split()
            lines.append(f"cp -r {' '.join(f'/context/{source}' for source in sources)} {target}")
    return "\n".join(lines) + "\n"


def test_it_serves_without_root_a_shell_or_a_disk(tmp_path: Path, credentials: Path) -> None:
    """With two workers, as user 65532, on a root that is read-only, where no shell can be started."""
    require("curl")
    require("ip")
    if os.geteuid():
        pytest.skip("it takes root: namespaces, and an overlay over the file system")
    stage = dict(last_stage())
    path = f"/opt/handclasp/bin:{os.environ['PATH']}"
    spoken = " ".join(words for word, words in last_stage() if word == "ENV").replace("$PATH", path)
    environment = " ".join(re.findall(r"\w+=\S+", spoken)) + " HANDCLASP_WORKERS=2"
    start = " ".join(json.loads(stage["ENTRYPOINT"]) + json.loads(stage["CMD"]))
    probe = " ".join(json.loads(stage["HEALTHCHECK"].partition(" CMD ")[2]))
    (tmp_path / "build").write_text(build_stage())
    (tmp_path / "overlay").mkdir()
    words = [tmp_path / "overlay", ROOT, tmp_path / "build", credentials, environment, start, probe]
    machine = ["timeout", "--signal=KILL", "350", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*machine, "bash", Path(__file__).with_name("_image.sh"), *words],
        capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    if re.search(r"^(unshare|mount): ", done.stderr, re.MULTILINE) and "built" not in done.stdout:
        pytest.skip(f"there are no namespaces or overlays here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if re.match(r"\w+: ", line))
    assert said == {
        "built": "yes",
        "read_only": "yes",
        "no_shell": "yes",
        "probe": "ok",
        "greeting": "Hello alice@example.com!",
        "ended": "0",
        "probe_of_none": "1",
    }
