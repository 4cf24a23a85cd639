"""`--json` on every command that has something to say: one JSON value on stdout, whatever else is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.test_shell_manners import ALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

GROUPS = {"handclasp-pki", "handclasp-pki issue", "handclasp-pki rotate-ca"}
"""They only choose one of the commands below them."""
ENDLESS = {"handclasp-http1 workload", "handclasp-http2 workload"}
"""They go on until they are stopped; what they do is a log."""


@pytest.mark.parametrize("path", sorted(set(ALL) - GROUPS - ENDLESS))
def test_every_command_has_it(path: str) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[path].params), path


@pytest.fixture
def said(run: Run) -> Callable[..., Any]:
    """Run a command with --json; what it said, which has to be all of stdout."""

    def call(*words: str | Path, code: int = 0) -> Any:
        got, out, err = run(*words, "--json")
        assert got == code, err
        return json.loads(out)

    return call


def test_the_life_of_a_name(said: Callable[..., Any], run: Run, tmp_path: Path) -> None:
    """What each step says is what `list` and the next step say."""
    made = said("init", "--name", "Example CA")
    assert (made["action"], made["name"], made["folder"]) == ("made", "Example CA", "state/authority")
    assert said("init", "--ensure")["action"] == "kept"
    issued = said("issue", "client", "alice", "--email", "alice@example.com")
    (listed,) = said("list")
    assert {key: listed[key] for key in ("name", "profile", "serial", "not_after", "folder")} == {
        key: issued[key] for key in ("name", "profile", "serial", "not_after", "folder")
    }
    assert (issued["action"], issued["clamped"]) == ("issued", False)
    assert said("issue", "client", "alice", "--email", "alice@example.com", "--ensure")["action"] == "kept"
    assert said("issue", "server", "localhost")["profile"] == "server"
    assert said("issue", "peer", "p.example")["profile"] == "peer"
    assert [one["action"] for one in said("rotate", "alice", "localhost")] == ["rotated", "rotated"]
    (renewed,) = said("renew", "alice")
    assert renewed["action"] == "renewed"
    assert said("renew", "--due") == []
    (revoked,) = said("revoke", "--serial", renewed["serial"], "--reason", "certificateHold", "--yes")
    assert (revoked["serial"], revoked["reason"]) == (renewed["serial"], "certificateHold")
    assert [row["serial"] for row in said("unhold", "--serial", renewed["serial"])] == [renewed["serial"]]
    p12 = said("export", "alice", "--p12")
    assert p12["file"] == "alice.p12"
    assert len(p12["passphrase"]) >= 16
    assert said("export", "--bundle", "--out", "all.pem") == {"name": None, "file": "all.pem", "authorities": 1}
    assert said("export", "alice", "--bundle", "--out", "a.pem")["name"] == "alice"
    assert said("prune", "--expired-before", "90d")["forgotten"] == 0
    assert said("upgrade") == {"upgraded": False, "names": 0, "certificates": 0}
    assert said("crl")[0]["authority"] == "Example CA"
    assert said("verify", "state/credentials/alice")["accepted"] is True
    assert said("doctor")["ok"] in (True, False) if run("doctor")[0] == 0 else said("doctor", code=1)["ok"] is False
    assert said("token", "bob", "--email", "bob@example.com")["name"] == "bob"
    assert said("self-signed", "--out", tmp_path / "own")["key"].endswith("own/key.pem")
    assert said("inspect", "state/credentials/alice")["identity"] == "alice@example.com"


def test_many_at_once(said: Callable[..., Any], tmp_path: Path) -> None:
    said("init")
    (tmp_path / "people.csv").write_text("name,email\na,a@x.io\nb,b@x.io\n")
    done = said("issue", "client", "--from", "people.csv")
    assert (done["issued"], done["kept"], done["profile"]) == (2, 0, "client")
    assert said("issue", "client", "--from", "people.csv")["kept"] == 2


def test_the_steps_of_an_authority(said: Callable[..., Any]) -> None:
    said("init")
    said("issue", "client", "alice", "--email", "alice@example.com")
    staged = said("rotate-ca", "stage", "--name", "The next")
    assert (staged["step"], staged["name"], staged["bundles_changed"]) == ("stage", "The next", 1)
    assert said("rotate-ca", "status")["next"] == "activate"
    assert said("rotate-ca", "activate")["sha256"] == staged["sha256"]
    assert said("rotate-ca", "retire")["leaves_left"] == ["alice"]
    said("rotate", "--all")
    assert said("rotate-ca", "publish")["step"] == "publish"
    assert said("rotate-ca", "prune")["name"] == "Handclasp CA"


def test_a_root_s_passphrase_is_beside_the_answer(run: Run) -> None:
    """It is shown once, and does not spoil the JSON."""
    code, out, err = run("init", "--intermediate", "--json")
    assert code == 0
    assert json.loads(out)["action"] == "made"
    assert "passphrase" in err


def test_what_does_not_end_has_no_answer(run: Run) -> None:
    run("init")
    code, out, err = run("renew", "--daemon", "--json")
    assert (code, out) == (2, "")
    assert "--json" in err
