"""The units: systemd itself reads them without a word, and finds little that they leave open."""

from __future__ import annotations

import configparser
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.server import ROOT
from tests.support.tools import ours, require

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = sorted(path.name for path in FOLDER.glob("*.service"))
UNITS = sorted(path.name for kind in ("service", "socket", "timer") for path in FOLDER.glob(f"*.{kind}"))
EXPOSURE = 1.5
"""What `systemd-analyze security` may say at most: 0 is nothing, 10 is everything; 2 and less is its "OK"."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are, but for where the commands are: beside this interpreter."""
    for name in UNITS:
        (tmp_path / name).write_text(
            (FOLDER / name).read_text().replace("/opt/handclasp/bin/handclasp", ours("handclasp"))
        )
    return tmp_path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require("systemd-analyze"), *words], capture_output=True, text=True, timeout=60, check=False)


def unit(name: str) -> configparser.RawConfigParser:
    """A unit's sections; of a setting that is said again, the last."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / name).read_text())
    return parser


@pytest.mark.parametrize("overridden", [False, True], ids=["as it is", "with live.conf"])
def test_systemd_reads_them_without_a_word(units: Path, overridden: bool) -> None:
    """An unknown setting, a value that makes no sense, a command that is not there: each would be a line."""
    if overridden:
        (units / "handclasp.service.d").mkdir()
        (units / "handclasp.service.d" / "live.conf").write_bytes((FOLDER / "live.conf").read_bytes())
    done = analyze("verify", "--man=no", *(str(units / name) for name in UNITS))
    # What is said of units of the machine's own is not about these.
    said = [line for line in done.stderr.splitlines() if "handclasp" in line]
    assert (done.returncode, said) == (0, [])


def test_a_mistake_would_be_said(units: Path) -> None:
    """The check above does look."""
    broken = units / "handclasp.service"
    broken.write_text(broken.read_text().replace("ProtectHome=yes", "ProtectHome=maybe\nProtectHouse=yes"))
    said = analyze("verify", "--man=no", str(broken)).stderr
    assert "Failed to parse" in said
    assert "ProtectHouse" in said


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_left_open(units: Path, name: str) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager", str(units / name))
    assert done.returncode == 0, done.stdout
    found = re.search(rf"exposure level for {re.escape(name)}: ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) <= EXPOSURE


def test_what_the_service_needs_to_say(units: Path) -> None:
    """The supervisor speaks, alone is told to stop, and has longer than its requests."""
    service = unit("handclasp.service")["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["KillMode"] == "mixed", "else systemd's SIGTERM to each worker is the second one, which cuts"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["WatchdogSec"]) >= 10
    assert int(service["TimeoutStopSec"]) > 30
    text = (FOLDER / "handclasp.service").read_text()
    assert set(re.findall(r"^LoadCredential=(\S+):", text, re.MULTILINE)) == {"tls.crt", "tls.key", "ca.crt"}
    assert unit("handclasp.socket")["Socket"]["FileDescriptorName"] in service["ExecStart"]


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_a_timer_has_a_service_and_catches_up(name: str) -> None:
    assert name.replace(".timer", ".service") in SERVICES
    timer = unit(name)
    assert timer["Timer"]["Persistent"] == "yes"
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_the_users_are_made(tmp_path: Path) -> None:
    """systemd-sysusers makes those that the units name, and no other."""
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        [require("systemd-sysusers"), f"--root={tmp_path}", str(FOLDER / "handclasp.sysusers")],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = {line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()}
    asked = {unit(name)["Service"].get("User") for name in SERVICES} | {unit("live.conf")["Service"]["User"]}
    assert made == asked - {None}
