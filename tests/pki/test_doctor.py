"""`doctor`: nothing where all is well, and each thing that is not, with its cure; exit 1 for a monitor."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pki.cli import main
from pki.diagnosis import examine
from pki.lifecycle import Lifecycle
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def pki(state: Path, inventory_url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: str, fails: int = 0) -> str:
        capsys.readouterr()
        code = main(["--state", str(state), "--database", inventory_url, *words])
        said = capsys.readouterr()
        assert code == fails, said
        return said.out + said.err

    run("init")
    run("issue", "client", "alice", "--email", "alice@example.com")
    run("issue", "server", "localhost")
    return run


def findings(pki: Callable[..., str]) -> list[dict]:
    """What is found now; there is something."""
    said = json.loads(pki("doctor", "--json", fails=1))
    assert said["ok"] is False
    assert all(finding["cure"] for finding in said["findings"])
    return said["findings"]


def test_all_is_well(pki: Callable[..., str]) -> None:
    """Behind init, issue, rotate, renew, revoke, crl, and an authority that was replaced."""
    assert json.loads(pki("doctor", "--json")) == {"ok": True, "findings": []}
    pki("rotate", "alice")
    pki("crl")
    pki("renew", "localhost")
    pki("issue", "client", "bob", "--email", "bob@example.com")
    pki("revoke", "--name", "bob", "--yes")
    pki("rotate-ca", "--now", "--settle", "1s")
    assert "all is well" in pki("doctor")


def test_keys_that_others_can_read(pki: Callable[..., str], state: Path) -> None:
    key = (state / "credentials/alice/tls.key").resolve()
    key.chmod(0o644)
    (found,) = findings(pki)
    assert "chmod 600" in found["message"]
    key.chmod(0o600)
    (state / "authority/ca.key").chmod(0o640)
    (found,) = findings(pki)
    assert found["cure"] == f"chmod 600 {state / 'authority/ca.key'}"


def test_the_inventory_and_the_disk(pki: Callable[..., str], state: Path, tmp_path: Path) -> None:
    """A folder that is gone, and one whose certificate nobody here has issued."""
    alice = state / "credentials/alice"
    shutil.move(alice, tmp_path / "away")
    (found,) = findings(pki)
    assert (found["subject"], found["cure"]) == ("alice", "handclasp-pki rotate alice")
    shutil.move(tmp_path / "away", alice)
    pki("doctor")
    assert main(["self-signed", "--out", str(state / "credentials/stranger")]) == 0
    (state / "credentials/stranger/cert.pem").rename(state / "credentials/stranger/tls.crt")
    (found,) = findings(pki)
    assert "does not know" in found["message"]


def test_lists(pki: Callable[..., str], state: Path) -> None:
    """Stale, gone, or another one in a folder."""
    pki("crl", "--next-update", "1s")
    time.sleep(1.1)
    assert any("stale" in found["message"] for found in findings(pki))
    pki("crl", "--next-update", "24h")
    pki("doctor")
    folder = state / "credentials/alice"
    (folder / "ca.crl").resolve().write_bytes(b"another")
    assert findings(pki)[0]["cure"] == "handclasp-pki rotate-ca publish"
    pki("rotate-ca", "publish")
    pki("doctor")
    (state / "ca.crl").unlink()
    assert any(found["message"] == "the revocation lists are gone" for found in findings(pki))
    pki("crl")
    pki("doctor")


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (5 * DAY, "it is due, and ends on"),
        (8 * DAY, "its certificate has expired on"),
        (3600 * DAY, "the authority ends in"),
        (3700 * DAY, "the authority has ended on"),
        (-DAY, "set the clock of this machine"),
    ],
)
def test_as_time_goes_by(pki: Callable[..., str], state: Path, inventory_url: str, when: timedelta, words: str) -> None:
    """Due, expired, an authority that ends, a clock that was set back: time is passed in."""
    with Lifecycle(State(state), database=inventory_url).reading() as here:
        assert any(words in f"{found.message} {found.cure}" for found in examine(here, NOW + when))


def test_a_root_key_that_stayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named until it is gone."""
    state = tmp_path / "intermediate"
    assert main(["--state", str(state), "init", "--intermediate"]) == 0
    assert main(["--state", str(state), "doctor"]) == 1
    assert "root.key" in capsys.readouterr().out
    (state / "authority/root.key").unlink()
    assert main(["--state", str(state), "doctor"]) == 0
