"""A damaged, full, read-only or unreachable inventory, a wrong passphrase or clock: one line, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pki.credential import load_folder
from pki.crl import parse_lists
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.state import State
from tests.faults._commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

Pki = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
WRITERS = (
    ["issue", "client", "bob", "--email", "b@x.io"],
    ["rotate", "alice"],
    ["renew", "alice"],
    ["issue", "client", "--from", "people.csv"],
)


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture
def pki(commands: Commands) -> Callable[..., tuple[int, str, str]]:
    """Run a command on a state folder; exit code, stdout, stderr."""
    return commands.run


@pytest.fixture
def fails(commands: Commands) -> Callable[..., str]:
    """Run a command that has to fail: exit 1, nothing on stdout, one line on stderr, which is returned."""

    def call(state: Path, *words: str, **how: Any) -> str:
        code, out, err = commands.run(state, *words, **how)
        assert (code, out) == (1, ""), (words, out, err)
        assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", err), err
        return err

    return call


@pytest.fixture
def state(tmp_path: Path, pki: Pki) -> Path:
    """A state folder with one client."""
    folder = tmp_path / "state"
    assert pki(folder, "init")[0] == pki(folder, "issue", "client", "alice", "--email", "a@x.io")[0] == 0
    (tmp_path / "people.csv").write_text(
        "name,email\n" + "".join(f"p{number},p{number}@x.io\n" for number in range(1500))
    )
    return folder


def known(state: Path) -> list[str]:
    return [entry.certificate.serial for entry in Lifecycle(State(state)).entries(now=datetime.now(UTC))]


def states(state: Path) -> set[tuple[str, str]]:
    entries = Lifecycle(State(state)).entries(now=datetime.now(UTC))
    return {(entry.certificate.names.name, entry.certificate.state) for entry in entries}


def test_a_damaged_database(state: Path, pki: Pki, fails: Fails) -> None:
    """Torn at its beginning or in the middle: the file is named by all who read it, and it is not replaced."""
    path = state / "inventory.db"
    sound = path.read_bytes()
    for damaged in (b"garbage" + sound[7:], sound[:100] + b"\xff" * (len(sound) - 100)):
        path.write_bytes(damaged)
        for words in (["list"], *WRITERS[:2], ["upgrade"], ["init", "--ensure"], ["prune", "--expired-before", "1d"]):
            assert "inventory.db is damaged" in fails(state, *words)
        assert path.read_bytes() == damaged
        code, out, err = pki(state, "doctor", "--json")
        assert (code, err, json.loads(out)["ok"]) == (1, "", False)
        assert "inventory.db is damaged" in out
    path.write_bytes(sound)
    assert pki(state, "rotate", "alice")[0] == 0


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_lost_database(state: Path, pki: Pki, fails: Fails, how: str) -> None:
    """No second one is begun in its place, which would not know what was issued and revoked; a copy mends it."""
    path = state / "inventory.db"
    assert pki(state, "revoke", "--name", "alice", "--yes")[0] == 0
    sound = path.read_bytes()
    path.unlink()
    if how == "empty":
        path.touch(0o600)
    for words in (["list"], *WRITERS[:2], ["upgrade"], ["init", "--ensure"], ["crl"], ["doctor"]):
        assert "inventory.db is missing or empty" in fails(state, *words)
    assert not path.exists() or not path.read_bytes()
    path.write_bytes(sound)
    assert "revoked" in pki(state, "list")[1]


def check_nothing_lost(state: Path, before: list[str], pki: Pki) -> None:
    """What was known is known, what is on disk is known and whole, and the next commands go through."""
    after = known(state)
    assert set(before) <= set(after)
    for path in (state / "credentials").iterdir():
        if not path.name.startswith(".") and (path / "tls.crt").exists():
            assert format(load_folder(path)[0].leaf.serial_number, "x") in after
    code, _, err = pki(state, "rotate", "alice")
    assert code == 0, err


def test_a_file_size_limit(state: Path, pki: Pki, fails: Fails) -> None:
    """No file may grow: each writer fails with one line, and leaves the state sound."""
    before = known(state)
    size = (state / "inventory.db").stat().st_size
    for words in WRITERS:
        fails(state, *words, limit=size // 4)
    check_nothing_lost(state, before, pki)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(state: Path, tmp_path: Path, pki: Pki, fails: Fails) -> None:
    """In the middle of a bulk issue, and before a single one: one line; with room again it is completed."""
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        shutil.copytree(state, disk / "state", symlinks=True)
        shutil.copy(tmp_path / "people.csv", disk)
        full = disk / "state"
        before = known(full)
        said = fails(full, "issue", "client", "--from", "people.csv")
        assert "No space left" in said or "is full" in said
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
        for words in WRITERS[:3]:
            said = fails(full, *words)
            assert "No space left" in said or "is full" in said or "the disk of the inventory" in said
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        filler.unlink(missing_ok=True)
        check_nothing_lost(full, before, pki)
        assert pki(full, "issue", "client", "--from", "people.csv")[0] == 0
        entries = [entry for entry in Lifecycle(State(full)).entries(now=datetime.now(UTC)) if entry.current]
        assert len([entry for entry in entries if entry.standing == "valid"]) >= 1501


def test_a_read_only_state(state: Path, tmp_path: Path, pki: Pki, fails: Fails) -> None:
    """On a file system that is mounted read-only: each writer says so, and changes nothing."""
    with small_disk(tmp_path / "disk", "50m"):
        disk = tmp_path / "disk"
        shutil.copytree(state, disk / "state", symlinks=True)
        shutil.copy(tmp_path / "people.csv", disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for words in WRITERS:
            assert "Read-only file system" in fails(disk / "state", *words)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        check_nothing_lost(disk / "state", known(state), pki)


def test_an_unreachable_postgresql(tmp_path: Path, pki: Pki, fails: Fails) -> None:
    """Nobody listens, no such host, a wrong socket: one line without the password, and no authority is made."""
    state = tmp_path / "state"
    for where in ("u:hush@127.0.0.1:1/x", "u:hush@nowhere.invalid/x", f"u:hush@/x?host={tmp_path}"):
        said = fails(state, "init", HANDCLASP_DATABASE=f"postgresql+psycopg://{where}")
        assert "cannot be reached" in said
        assert "hush" not in said
    assert not (state / "authority").exists()
    assert pki(state, "init")[0] == 0


def test_a_postgresql_that_goes_away(tmp_path: Path, postgresql_url: str, pki: Pki, fails: Fails) -> None:
    """The database is gone between two commands: one line; an issue that could not be recorded left nothing."""
    state = tmp_path / "state"
    assert pki(state, "init", HANDCLASP_DATABASE=postgresql_url)[0] == 0
    gone = postgresql_url.replace("/test_", "/gone_")
    assert "gone_" in fails(state, "issue", "client", "bob", "--email", "b@x.io", HANDCLASP_DATABASE=gone)
    assert not (state / "credentials").exists()
    assert pki(state, "issue", "client", "bob", "--email", "b@x.io", HANDCLASP_DATABASE=postgresql_url)[0] == 0


def test_a_wrong_passphrase(tmp_path: Path, pki: Pki, fails: Fails) -> None:
    """Each writer says so without showing it; nothing is recorded."""
    state = tmp_path / "state"
    right, wrong = {"HANDCLASP_CA_PASSPHRASE": "correct horse"}, {"HANDCLASP_CA_PASSPHRASE": "battery staple"}
    assert pki(state, "init", **right)[0] == 0
    assert pki(state, "issue", "client", "alice", "--email", "a@x.io", **right)[0] == 0
    (tmp_path / "people.csv").write_text("name,email\nbob,b@x.io\n")
    assert pki(state, "rotate-ca", "stage", **right)[0] == 0
    before = states(state)
    revoking = ["revoke", "--name", "alice", "--yes"]
    for words in (*WRITERS, ["renew", "--daemon"], revoking, ["crl"], ["rotate-ca", "activate"]):
        said = fails(state, *words, **wrong)
        assert "passphrase is wrong" in said
        assert "staple" not in said
    assert states(state) == before
    assert not (state / "ca.crl").exists()
    for words in (revoking, ["rotate-ca", "activate"]):
        assert pki(state, *words, **right)[0] == 0
    assert "passphrase is wrong" in fails(state, "rotate-ca", "retire", **wrong)
    assert pki(state, "rotate-ca", "retire", **right)[0] == pki(state, "rotate-ca", "prune", **right)[0] == 0


def test_a_revocation_that_cannot_be_published(state: Path, pki: Pki, fails: Fails) -> None:
    """It is recorded all the same, this is said, and the next list has it."""
    (state / "ca.crl").mkdir()
    said = fails(state, "revoke", "--name", "alice", "--yes")
    assert "the revocation is recorded, and not published yet" in said
    assert "handclasp-pki crl" in said
    assert states(state) == {("alice", "revoked")}
    (state / "ca.crl").rmdir()
    assert pki(state, "crl")[0] == 0
    (listed,) = parse_lists((state / "credentials" / "alice" / "ca.crl").read_bytes())
    assert len(listed) == 1


def test_a_clock_before_the_authority(tmp_path: Path, fails: Fails) -> None:
    """It was made tomorrow: nothing is signed, and the message says to set the clock."""
    state = tmp_path / "state"
    lifecycle = Lifecycle(State(state))
    lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC) + timedelta(days=1))
    (tmp_path / "people.csv").write_text("name,email\nbob,b@x.io\n")
    for words in (WRITERS[0], WRITERS[3], ["crl"], ["rotate-ca", "stage"]):
        assert "set the clock" in fails(state, *words)
    assert known(state) == []
    assert not (state / "ca.crl").exists()
    assert not (state / "authority-2").exists()


def test_another_writer_is_named(state: Path, pki: Pki, fails: Fails) -> None:
    """Who holds the lock is named by its process id; reading goes on."""
    holder = State(state)
    with holder.locked():
        assert f"process {os.getpid()} is writing" in fails(state, *WRITERS[0])
        assert pki(state, "list")[0] == 0
    assert pki(state, *WRITERS[0])[0] == 0
