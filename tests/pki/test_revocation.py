"""Revoking: exactly what was named, recorded before it is published, and published everywhere at once."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509

from pki.cli import main
from pki.crl import parse_lists, read_lists
from pki.pem import parse_certificates
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


COMMAND = (sys.executable, "-m", "pki")


class Said(NamedTuple):
    """What a command has said."""

    stdout: str
    stderr: str


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def pki(state: Path, inventory_url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `handclasp-pki`; it must succeed, unless `fails` says with which code it does not."""

    def run(*words: str, fails: int = 0, words_in: str = "") -> Said:
        capsys.readouterr()
        code = main(["--state", str(state), "--database", inventory_url, *words])
        said = Said(*capsys.readouterr())
        assert code == fails, said.stderr
        assert words_in in said.stderr + said.stdout, said
        if fails:
            assert len(said.stderr.strip().splitlines()) == 1
        return said

    run("init")
    run("issue", "client", "alice", "--email", "alice@example.com")
    run("issue", "client", "bob", "--email", "bob@example.com")
    return run


def listed(pki: Callable[..., Said], name: str) -> list[dict]:
    return [entry for entry in json.loads(pki("list", "--json").stdout) if entry["name"] == name]


def the_list(state: Path, folder: str = "") -> x509.CertificateRevocationList:
    (found,) = parse_lists((state / folder / "ca.crl").read_bytes())
    return found


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_what_is_revoked_is_published_everywhere_at_once(pki: Callable, state: Path) -> None:
    """In the inventory, in the state and in every folder; openssl agrees; the others stay good."""
    openssl = require("openssl")
    pki("revoke", "--name", "alice", "--reason", "keyCompromise", "--yes")
    (alice,) = listed(pki, "alice")
    assert (alice["state"], alice["reason"]) == ("revoked", "keyCompromise")
    for folder in ("", "credentials/alice", "credentials/bob"):
        (entry,) = the_list(state, folder)
        assert format(entry.serial_number, "x") == alice["serial"]
        assert entry.extensions[0].value.reason is x509.ReasonFlags.key_compromise
    (authority,) = parse_certificates((state / "authority/ca.crt").read_bytes())
    (revocation_list,) = read_lists((state / "ca.crl").read_bytes(), [authority])
    assert int(alice["serial"], 16) in revocation_list
    checked = [openssl, "verify", "-crl_check", "-CAfile", "authority/ca.crt", "-CRLfile", "ca.crl"]
    for name, good in (("alice", False), ("bob", True)):
        done = subprocess.run(
            [*checked, f"credentials/{name}/tls.crt"], cwd=state, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is good
        assert good or "certificate revoked" in done.stderr


def test_several_live_certificates_of_a_name(pki: Callable, state: Path) -> None:
    """easy-rsa#1167: lists them, and revokes none; --serial takes that one, --all takes all."""
    pki("rotate", "alice")
    said = pki("revoke", "--name", "alice", "--yes", fails=1).stderr
    new, old = listed(pki, "alice")
    assert new["serial"] in said
    assert old["serial"] in said
    assert not (state / "ca.crl").exists()
    with_colons = ":".join(old["serial"].zfill(40)[i : i + 2] for i in range(0, 40, 2)).upper()
    pki("revoke", "--serial", with_colons, "--yes")
    assert [entry["state"] for entry in listed(pki, "alice")] == ["valid", "revoked"]
    pki("rotate", "alice")
    pki("revoke", "--name", "alice", "--all", "--yes")
    assert {entry["state"] for entry in listed(pki, "alice")} == {"revoked"}
    assert len(list(the_list(state))) == 3


def test_nobody_to_ask(pki: Callable) -> None:
    """Without a terminal and without --yes it names what it would revoke, and does not."""
    (alice,) = listed(pki, "alice")
    said = pki("revoke", "--name", "alice", fails=2).stderr
    assert alice["serial"] in said
    assert "alice@example.com" in said
    assert "--yes" in said
    assert listed(pki, "alice")[0]["state"] == "valid"


def test_a_terminal_is_asked(state: Path, pki: Callable, inventory_url: str) -> None:
    """No leaves everything as it is and ends with 1, yes revokes."""
    for answer, outcome, code in ((b"n\n", "valid", 1), (b"y\n", "revoked", 0)):
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pki",
                "--state",
                str(state),
                "--database",
                inventory_url,
                "revoke",
                "--name",
                "bob",
            ],
            stdin=child,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.write(parent, answer)
        assert process.wait(30) == code
        os.close(parent)
        os.close(child)
        assert listed(pki, "bob")[0]["state"] == outcome


def test_by_file(pki: Callable, state: Path, tmp_path: Path) -> None:
    """A certificate that was found somewhere; one that is not ours is refused."""
    pki("revoke", "--file", str(state / "credentials/bob/tls.crt"), "--reason", "keyCompromise", "--yes")
    assert listed(pki, "bob")[0]["state"] == "revoked"
    other = tmp_path / "other"
    pki("self-signed", "--out", str(other))
    pki("revoke", "--file", str(other / "cert.pem"), "--yes", fails=1, words_in="was not issued here")


def test_a_hold_can_be_undone_and_a_revocation_cannot(pki: Callable, state: Path) -> None:
    pki("revoke", "--name", "alice", "--reason", "certificateHold", "--yes")
    assert listed(pki, "alice")[0]["state"] == "held"
    (entry,) = the_list(state)
    assert entry.extensions[0].value.reason is x509.ReasonFlags.certificate_hold
    pki("renew", "alice", fails=1, words_in="unhold")
    pki("unhold", "--name", "alice")
    assert listed(pki, "alice")[0]["state"] == "valid"
    assert not list(the_list(state, "credentials/bob"))
    pki("revoke", "--name", "alice", "--reason", "superseded", "--yes")
    pki("unhold", "--name", "alice", fails=1)
    serial = listed(pki, "alice")[0]["serial"]
    pki("unhold", "--serial", serial, fails=1, words_in="not on hold")
    pki("revoke", "--serial", serial, "--yes", fails=1, words_in="revoked already")


def test_lists_never_repeat_a_number_or_a_date(pki: Callable, state: Path) -> None:
    """Two lists with one lastUpdate let a revoked client in: numbers and dates strictly increase, also in a second."""
    seen = []
    for _ in range(4):
        pki("crl")
        seen.append((number(the_list(state)), the_list(state).last_update_utc))
    assert [n for n, _ in seen] == [1, 2, 3, 4]
    dates = [date for _, date in seen]
    assert dates == sorted(set(dates))
    assert dates[-1] < datetime.now(UTC), "none is from the future"


def test_how_long_a_list_is_good_for(pki: Callable, state: Path) -> None:
    """24 hours; --next-update says otherwise, and is remembered by what revokes."""
    pki("crl")
    crl = the_list(state)
    assert crl.next_update_utc - crl.last_update_utc == timedelta(hours=24)
    pki("crl", "--next-update", "7d")
    pki("revoke", "--name", "alice", "--yes")
    crl = the_list(state, "credentials/alice")
    assert crl.next_update_utc - crl.last_update_utc == timedelta(days=7)
    for bad in ("0h", "tomorrow", "-1h"):
        pki("crl", "--next-update", bad, fails=2)


def test_new_credentials_come_with_the_list(pki: Callable, state: Path) -> None:
    """Issued, rotated or renewed behind the first list: the folder has it."""
    pki("revoke", "--name", "alice", "--yes")
    pki("issue", "server", "localhost")
    pki("rotate", "bob")
    pki("renew", "bob")
    published = (state / "ca.crl").read_bytes()
    for name in ("localhost", "bob"):
        assert (state / "credentials" / name / "ca.crl").read_bytes() == published


def test_the_revoked_do_not_come_back_by_themselves(pki: Callable) -> None:
    """renew, rotate and --ensure refuse, and say what to do; --again is the explicit act."""
    pki("revoke", "--name", "alice", "--yes")
    pki("renew", "alice", fails=1, words_in="--again")
    pki("rotate", "alice", fails=1, words_in="--again")
    pki("issue", "client", "alice", "--email", "alice@example.com", "--ensure", fails=1, words_in="--again")
    pki("rotate", "--all")
    pki("issue", "client", "alice", "--email", "alice@example.com", "--again")
    assert [entry["state"] for entry in listed(pki, "alice")] == ["valid", "revoked"]


def test_a_folder_that_cannot_be_written_does_not_keep_the_others_back(
    pki: Callable, state: Path, inventory_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The revocation stands, the other folders have it, and the error names the one that has not."""
    folder = state / "credentials/alice"
    (folder / "tls.key").unlink()
    (folder / "tls.key").mkdir()
    capsys.readouterr()
    assert main(["--state", str(state), "--database", inventory_url, "revoke", "--name", "bob", "--yes"]) == 1
    assert "credentials/alice" in capsys.readouterr().err
    assert list(the_list(state))
    assert list(the_list(state, "credentials/bob"))
    assert listed(pki, "bob")[0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("revoke", "--yes"), "one of --serial, --name and --file"),
        (("revoke", "--serial", "1", "--name", "alice", "--yes"), "one of"),
        (("revoke", "--serial", "xyz", "--yes"), "no serial number"),
        (("revoke", "--serial", "-5", "--yes"), "no serial number"),
        (("revoke", "--name", "alice", "--reason", "boredom", "--yes"), "boredom"),
    ],
)
def test_bad_words(pki: Callable, words: tuple[str, ...], says: str) -> None:
    pki(*words, fails=2, words_in=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("revoke", "--serial", "abc123", "--yes"), "abc123"),
        (("revoke", "--name", "nobody", "--yes"), "nobody"),
        (("revoke", "--file", "/nonexistent", "--yes"), "nonexistent"),
    ],
)
def test_what_is_not_there(pki: Callable, words: tuple[str, ...], says: str) -> None:
    pki(*words, fails=1, words_in=says)


def test_the_daemon_publishes_at_half_life(state: Path, pki: Callable, inventory_url: str) -> None:
    """A list of two seconds is followed by the next within one and a half; SIGTERM ends it, exit 0."""
    process = subprocess.Popen(
        [*COMMAND, "--state", str(state), "--database", inventory_url, "crl", "--daemon", "--next-update", "2s"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        started = time.monotonic()
        lines = [process.stdout.readline() for _ in range(4)]
        assert ["published list" in line for line in lines] == [True] * 4
        assert time.monotonic() - started < 60
        assert the_list(state, "credentials/bob").next_update_utc > datetime.now(UTC)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
