"""State folders from before the inventory: taken over whole, once, and at any instant again."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pki.credential import load_folder
from pki.errors import AlreadyExists, CorruptState, InventoryError, NotFound
from pki.importing import Imported
from pki.inventory.rows import fingerprint, spki_sha256
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State
from tests.support.first_issue import OldState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE = Names.parse("alice", emails=["alice@example.com"])
WEB = Names.parse("web", dns_names=["web.example.com"], ip_addresses=["::1"])


@pytest.fixture
def old(tmp_path: Path) -> OldState:
    made = OldState(tmp_path / "state", NOW)
    made.issue("client", ALICE, times=3)
    made.issue("server", WEB, days=30)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def lifecycle(request: pytest.FixtureRequest, old: OldState, notes: list[str]) -> Lifecycle:
    database = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
    return Lifecycle(State(old.folder, patience=0.1), None, database, note=notes.append)


def test_everything_is_taken_over(lifecycle: Lifecycle, old: OldState, notes: list[str]) -> None:
    """Every name, every serial number, the authority; the records are put aside, and no folder is touched."""
    credentials = {path: path.stat().st_mtime_ns for path in (old.folder / "credentials").rglob("*")}
    serials = [one["serial"] for one in json.loads(old.record("alice").read_bytes())["certificates"]]
    assert lifecycle.upgrade() == (True, Imported(names=2, certificates=4))
    assert lifecycle.upgrade() == (False, Imported(names=0, certificates=0))
    later = NOW + timedelta(hours=3)
    entries = lifecycle.entries(now=later)
    assert [entry.certificate.serial for entry in entries][2::-1] == serials
    assert [(entry.certificate.names, entry.standing, entry.current) for entry in entries] == [
        (ALICE, "valid", True), (ALICE, "valid", False), (ALICE, "valid", False), (WEB, "valid", True),
    ]  # fmt: skip
    leaf = load_folder(old.folder / "credentials" / "alice")[0].leaf
    first, current = entries[2].certificate, entries[0].certificate
    assert current.issuer == first.issuer == fingerprint(old.authority.certificate)
    assert current.spki_sha256 == spki_sha256(_spki(leaf))
    assert (first.spki_sha256, first.key, first.requested_by, first.issued_at) == ("", "p256", "", NOW)
    assert credentials == {path: path.stat().st_mtime_ns for path in (old.folder / "credentials").rglob("*")}
    assert not (old.folder / "issued").exists()
    assert sorted(path.name for path in (old.folder / "issued.imported").iterdir()) == ["alice.json", "web.json"]
    assert lifecycle.rotate(None, now=later)
    assert notes == []


def _spki(leaf: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["issue", "rotate", "renew", "entries", "names", "init", "prune"])
def test_any_command_takes_it_over_and_says_so(command: str, old: OldState, notes: list[str]) -> None:
    """Once, in one line; an inventory elsewhere has to be named by `upgrade` or `init`."""
    lifecycle = Lifecycle(State(old.folder), note=notes.append)
    later = NOW + timedelta(hours=3)
    bob = Request(ClientProfile(), Names.parse("bob", emails=["b@x.io"]))
    calls: dict[str, Callable[[], object]] = {
        "issue": lambda: lifecycle.issue(bob, now=later),
        "rotate": lambda: lifecycle.rotate(["alice"], now=later),
        "renew": lambda: lifecycle.renew(["alice"], now=later),
        "entries": lambda: lifecycle.entries(now=later),
        "names": lifecycle.names,
        "init": lambda: lifecycle.init("CA", key=KeyType.P256, now=later, ensure=True),
        "prune": lambda: lifecycle.prune(expired_before=later),
    }
    for _ in range(2):
        try:
            calls[command]()
        except AlreadyExists:
            assert command == "issue"
    assert notes == [f"took 2 names and 4 certificates of an older Handclasp into {old.folder}/inventory.db"]
    assert [name for name in lifecycle.names() if name != "bob"] == ["alice", "web"]


def test_a_shared_inventory_is_not_written_to_by_the_way(old: OldState, postgresql_url: str) -> None:
    """Whoever forgot `upgrade` is told so; the records stay."""
    shared = Lifecycle(State(old.folder), None, postgresql_url)
    for call in (shared.names, lambda: shared.rotate(None, now=NOW)):
        with pytest.raises(InventoryError, match="handclasp-pki upgrade"):
            call()
    assert old.record("alice").exists()
    shared.upgrade()
    assert shared.names() == ["alice", "web"]
    (old.folder / "issued").mkdir()
    with pytest.raises(InventoryError, match="handclasp-pki upgrade"):
        shared.names()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"garbage",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        {"format": 2},
        {"profile": "emperor"},
        {"name": "bob"},
        {"emails": ["a\u0000@x.io"]},
        {"emails": "alice@example.com"},
        {"emails": [1]},
        {"key": "rsa512"},
        {"days": 0},
        {"days": "seven"},
        {"certificates": []},
        {"certificates": [{}]},
        {"certificates": [{"serial": "zz", "sha256": "", "not_before": "", "not_after": ""}]},
    ],
)
def test_a_damaged_record_is_named_and_nothing_is_lost(
    damage: bytes | dict[str, object], old: OldState, notes: list[str]
) -> None:
    """CorruptState with the file's path in one line, by every command; mended, all are taken over."""
    lifecycle = Lifecycle(State(old.folder), note=notes.append)
    path = old.record("alice")
    sound = path.read_bytes()
    if isinstance(damage, dict):
        damage = json.dumps(json.loads(sound) | damage).encode()
    path.write_bytes(damage)
    for call in (lifecycle.upgrade, lifecycle.names, lambda: lifecycle.rotate(None, now=NOW)):
        with pytest.raises(CorruptState) as caught:
            call()
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()
    assert path.read_bytes() == damage
    assert old.record("web").exists()
    path.write_bytes(sound)
    assert lifecycle.upgrade()[1] == Imported(names=2, certificates=4)


def test_cut_off_at_any_point(old: OldState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the tables, before the records, before they are put aside: the next run completes it."""
    from pki.inventory.store import Inventory
    from pki.opening import Opening

    class Cut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise Cut

    points = [(Inventory, "migrate"), (Opening, "_bring_up"), (Imported, "put_aside")]
    for number, (where, what) in enumerate(points):
        folder = tmp_path / str(number)
        shutil.copytree(old.folder, folder, symlinks=True)
        lifecycle = Lifecycle(State(folder))
        with monkeypatch.context() as patch:
            patch.setattr(where, what, cut)
            with pytest.raises(Cut):
                lifecycle.upgrade()
        lifecycle.upgrade()
        assert lifecycle.names() == ["alice", "web"]
        assert len(lifecycle.entries(now=NOW)) == 4
        assert not (folder / "issued").exists()


def test_records_of_another_authority_are_orphans(old: OldState) -> None:
    """What an earlier authority signed is taken over too, and is not said to be of the present one."""
    shutil.rmtree(old.folder / "authority")
    later = NOW + timedelta(days=1)
    made = OldState(old.folder.with_name("other"), later)
    shutil.copytree(made.folder / "authority", old.folder / "authority")
    lifecycle = Lifecycle(State(old.folder))
    assert {entry.standing for entry in lifecycle.entries(now=later)} == {"orphaned"}
    lifecycle.rotate(None, now=later)
    assert [entry.standing for entry in lifecycle.entries(now=later) if entry.current] == ["valid", "valid"]


def test_old_records_come_once_more(old: OldState, notes: list[str]) -> None:
    """An older program was run after the upgrade: what it recorded is added, and put beside the first ones."""
    lifecycle = Lifecycle(State(old.folder), note=notes.append)
    lifecycle.upgrade()
    (old.folder / "issued").mkdir()
    old.issue("client", Names.parse("late", emails=["l@x.io"]))
    assert lifecycle.names() == ["alice", "late", "web"]
    assert (old.folder / "issued.imported.2" / "late.json").exists()
    assert len(notes) == 1


def test_the_command(run: Callable[..., tuple[int, str, str]], old: OldState) -> None:
    """Says what it did, and that there is nothing to do."""
    code, out, err = run("upgrade", "--state", old.folder)
    assert (code, err) == (0, "")
    assert out == "took 2 names and 4 certificates into the inventory\nthe inventory was upgraded\n"
    assert run("upgrade", "--state", old.folder) == (0, "the inventory is up to date\n", "")


def test_there_is_nothing_to_upgrade(tmp_path: Path) -> None:
    """No state folder, or an empty one: NotFound, and nothing is made."""
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(NotFound, match="init"):
            Lifecycle(State(folder)).upgrade()
    assert [path.name for path in (tmp_path / "empty").iterdir()] == [".lock"]
