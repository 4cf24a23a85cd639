"""The units, as they are, under systemd: the first process of a machine made of namespaces, with all of its sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.server import ROOT
from tests.support.tools import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOLDER = Path(__file__).parent


def interpreter() -> Path:
    """One of this version outside of the home folders, which the units hide from their services."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix, "bin", f"python{version}")
    homes = (Path("~root").expanduser(), Path("/home"))
    for found in (own, Path("/usr/local/bin", own.name), Path("/usr/bin", own.name)):
        if found.exists() and not any(found.resolve().is_relative_to(home) for home in homes):
            return found
    pytest.skip(f"Python {version} is in a home folder alone, which the units hide: apt-get install python{version}")


@pytest.fixture
def said(tmp_path: Path) -> dict[str, str]:
    """What `_on_the_machine.sh` has said. Skips where there are no namespaces, or where systemd cannot start."""
    for tool in ("systemd-analyze", "systemd-sysusers", "curl", "ip"):
        require(tool)
    if os.geteuid() or not Path("/lib/systemd/systemd").exists():
        pytest.skip("it takes root, and systemd: apt-get install systemd")
    out, overlay = tmp_path / "out", tmp_path / "overlay"
    out.touch()
    overlay.mkdir()
    words = [overlay, ROOT, interpreter(), sysconfig.get_path("purelib"), FOLDER / "_on_the_machine.sh", out]
    # Whatever happens, its first process ends in time, and everything of it with that.
    machine = ["timeout", "--signal=KILL", "200", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*machine, "bash", FOLDER / "_machine.sh", *words], capture_output=True, text=True, timeout=230, check=False
    )
    text = out.read_text(errors="replace")
    if "started: yes" not in text:
        pytest.skip(f"systemd cannot start in namespaces here: {done.stderr.strip().splitlines()[-1:]}")
    print(text)  # pytest shows it where a test fails
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and line.split(":")[0].isidentifier())


def test_the_units_as_they_are(said: dict[str, str]) -> None:
    """Started, asked, reloaded, hung, with two workers, with a folder that is watched, stopped."""
    # The socket is passed, the credential is copied for a user of no other use, READY is heard.
    assert said["state"] == "running"
    assert said["status"] == said["two_workers"] == "serving https://[::]:8443"
    assert int(said["uid"]) >= 61_184, "a dynamic user's"
    assert int(said["capabilities"], 16) == 0
    assert said["key"].split()[0] in ("400", "440")
    assert said["readyz"] == "ok"
    for greeting in ("greeting", "greeting_after_watchdog", "greeting_of_two", "greeting_live"):
        assert said[greeting] == "Hello alice@example.com!"
    # systemctl returns when READY was said behind RELOADING: it would fail by time else.
    assert said["reload"] == said["reload_of_two"] == "0"
    assert said["state_after_reload"] == "running"
    # The watchdog: not while it is well, once when it was stopped by SIGSTOP.
    assert said["restarts_while_well"] == "0"
    assert said["restarts_after_stop"] == "1"
    # The authority's timers have what they need, in their sandbox and as their own user.
    assert said["handclasp_pki_renew"] == said["handclasp_pki_crl"] == "success"
    assert said["list"] == "handclasp-pki"
    # With live.conf a rotation is taken up by both workers, and nothing is restarted for it.
    assert said["live_user"] == "handclasp-credential"
    assert int(said["live_reloaded"]) >= 2
    assert said["live_same_process"] == "yes"
    # The timer's service asks a server with --enrollment, and has the copy made anew.
    assert said["renewed"] == "success"
    assert said["renewed_certificate"] == "another"
    assert said["renewed_copy"] == "same"
    assert said["end"] == "dead success"
