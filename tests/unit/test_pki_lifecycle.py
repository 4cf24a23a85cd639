"""Names from their first certificate on: issued once, rotated, kept, and made whole after a crash."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.authority import was_issued_by
from pki.credential import Credential, load_folder
from pki.errors import (
    AlreadyExists,
    CorruptState,
    CredentialError,
    InsecurePermissions,
    InvalidName,
    Locked,
    NotFound,
    PassphraseError,
    StateError,
    UsageError,
)
from pki.identity import Identity
from pki.keys import KeyType, describe_key
from pki.lifecycle import Lifecycle, Request
from pki.names import Names
from pki.profiles import ClientProfile, PeerProfile, ServerProfile
from pki.state import State

if TYPE_CHECKING:
    from pki.listing import Entry

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ALICE = Request(ClientProfile(), Names.parse("alice", emails=["alice@example.com"]))
WEB = Request(ServerProfile(), Names.parse("web", dns_names=["web.example.com"], ip_addresses=["::1"]))


@pytest.fixture
def lifecycle(tmp_path: Path) -> Lifecycle:
    made = Lifecycle(State(tmp_path / "state", patience=0.1))
    made.init("An authority", key=KeyType.P256, now=NOW)
    return made


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file and link below a folder, the lock apart."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or (path.is_file() and path.name != ".lock")
    }


def serials(lifecycle: Lifecycle, name: str) -> list[str]:
    """Every certificate that the inventory knows of a name, the latest last."""
    return [entry.certificate.serial for entry in reversed(lifecycle.entries(now=NOW, name=name))]


def current(lifecycle: Lifecycle, now: datetime) -> list[Entry]:
    """A name each, as it stands in its folder."""
    return [entry for entry in lifecycle.entries(now=now) if entry.current]


def test_the_authority_is_made_once(lifecycle: Lifecycle) -> None:
    """A second init is refused and touches nothing; with ensure it is kept, if it is valid and opens."""
    before = snapshot(lifecycle.state.folder)
    with pytest.raises(AlreadyExists):
        lifecycle.init("Another", key=KeyType.P384, now=NOW)
    kept, action = lifecycle.init("Another", key=KeyType.P384, now=LATER, ensure=True)
    assert (action, kept.certificate.subject.rfc4514_string()) == ("kept", "CN=An authority")
    with pytest.raises(StateError, match="ended"):
        lifecycle.init("Another", key=KeyType.P384, now=NOW + timedelta(days=4000), ensure=True)
    assert snapshot(lifecycle.state.folder) == before
    assert stat.S_IMODE(lifecycle.state.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((lifecycle.state.authority / "ca.key").stat().st_mode) == 0o600


def test_a_bad_request_makes_no_state(tmp_path: Path) -> None:
    """A name or a lifetime that cannot be: not even an empty folder is left."""
    lifecycle = Lifecycle(State(tmp_path / "deep" / "state"))
    for name, days in (("", None), ("CA", 0), ("CA", 10**9)):
        with pytest.raises(UsageError):
            lifecycle.init(name, key=KeyType.P256, days=days, now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_an_issued_credential_loads_and_is_recorded(lifecycle: Lifecycle) -> None:
    """The folder has the pair and the authority; the record has what rotating needs and the serial number."""
    outcome = lifecycle.issue(WEB, now=NOW)
    assert (outcome.action, outcome.clamped) == ("issued", False)
    assert outcome.folder == lifecycle.state.folder / "credentials" / "web"
    credential, trust = load_folder(outcome.folder)
    assert credential.leaf == outcome.certificate
    assert [anchor.subject.rfc4514_string() for anchor in trust] == ["CN=An authority"]
    (entry,) = lifecycle.entries(now=NOW)
    assert entry.record == outcome.record
    assert entry.certificate.serial == outcome.record.serial == format(outcome.certificate.serial_number, "x")
    assert (entry.record.profile, entry.record.key, entry.record.days) == ("server", KeyType.P256, 30)
    assert (entry.certificate.requested_by, entry.certificate.issued_at) == ("", NOW)


def test_a_name_is_issued_once(lifecycle: Lifecycle) -> None:
    """The same name again, or a folder that holds a credential: refused, and nothing changes."""
    lifecycle.issue(ALICE, now=NOW)
    before = snapshot(lifecycle.state.folder)
    for request in (
        ALICE,
        Request(PeerProfile(), Names.parse("alice", dns_names=["x.io"]), out=lifecycle.state.folder / "elsewhere"),
        Request(WEB.profile, WEB.names, out=lifecycle.state.folder / "credentials" / "alice"),
    ):
        with pytest.raises(AlreadyExists):
            lifecycle.issue(request, now=NOW)
    assert snapshot(lifecycle.state.folder) == before


def test_a_rotation_keeps_all_but_key_and_dates(lifecycle: Lifecycle) -> None:
    """Same names, profile, key type and life; another key; the serial numbers before are still known."""
    request = Request(PeerProfile(), WEB.names, days=3, key=KeyType.ED25519)
    first = lifecycle.issue(request, now=NOW)
    (second,) = lifecycle.rotate(["web"], now=LATER)
    assert (second.action, second.folder) == ("rotated", first.folder)
    assert second.certificate.public_key() != first.certificate.public_key()
    assert describe_key(second.certificate.public_key()) == "ed25519"
    one, two = (Identity.from_certificate(outcome.certificate) for outcome in (first, second))
    assert (one.name, one.dns_names) == (two.name, two.dns_names)
    assert two.not_after == LATER + timedelta(days=3)
    assert Credential.load(first.folder).leaf == second.certificate
    assert serials(lifecycle, "web") == [one.serial, two.serial]
    (third,) = lifecycle.rotate(["web"], now=NOW + timedelta(days=5))
    assert serials(lifecycle, "web") == [one.serial, two.serial, third.record.serial], "an ended one is rotated too"


def test_all_names_are_checked_before_the_first_is_touched(lifecycle: Lifecycle) -> None:
    """An unknown one among them: NotFound, which names the known ones, and no rotation."""
    lifecycle.issue(ALICE, now=NOW)
    lifecycle.issue(WEB, now=NOW)
    before = snapshot(lifecycle.state.folder)
    for unknown in ("nobody", "../issued/alice", "", "alice.json"):
        with pytest.raises(NotFound, match="known are alice, web"):
            lifecycle.rotate(["alice", unknown], now=LATER)
    assert snapshot(lifecycle.state.folder) == before


def test_several_and_all(lifecycle: Lifecycle) -> None:
    """In the order asked for, each once; None is all of them by name; progress is told as it happens."""
    assert lifecycle.rotate(None, now=NOW) == []
    for request in (WEB, ALICE):
        lifecycle.issue(request, now=NOW)
    told: list[str] = []
    done = lifecycle.rotate(["web", "alice", "web"], now=LATER, on_each=lambda one: told.append(one.record.names.name))
    assert told == [outcome.record.names.name for outcome in done] == ["web", "alice"]
    assert [outcome.record.names.name for outcome in lifecycle.rotate(None, now=LATER)] == ["alice", "web"]


def test_out_is_remembered(lifecycle: Lifecycle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential outside of the state folder is rotated where it is, from any current folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    first = lifecycle.issue(Request(ALICE.profile, ALICE.names, out=Path("../tls")), now=NOW)
    monkeypatch.chdir(tmp_path)
    (second,) = lifecycle.rotate(["alice"], now=LATER)
    assert second.folder == tmp_path / "tls"
    assert Credential.load(tmp_path / "tls").leaf == second.certificate != first.certificate


def test_the_state_folder_may_be_moved(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """Folders inside of it are remembered relative to it, also those that --out named."""
    lifecycle.issue(ALICE, now=NOW)
    lifecycle.issue(Request(WEB.profile, WEB.names, out=lifecycle.state.folder / "tls"), now=NOW)
    moved = Lifecycle(State(tmp_path / "moved"))
    lifecycle.state.folder.rename(moved.state.folder)
    folders = [outcome.folder for outcome in moved.rotate(None, now=LATER)]
    assert folders == [tmp_path / "moved/credentials/alice", tmp_path / "moved/tls"]
    assert not lifecycle.state.folder.exists()


def test_a_folder_that_was_deleted_is_made_again(lifecycle: Lifecycle) -> None:
    """By a rotation, and by issuing the name anew, with other names if need be."""
    folder = lifecycle.issue(ALICE, now=NOW).folder
    shutil.rmtree(folder)
    assert [entry.standing for entry in current(lifecycle, NOW)] == ["missing"]
    lifecycle.rotate(["alice"], now=LATER)
    assert load_folder(folder)
    shutil.rmtree(folder)
    other = Request(ClientProfile(), Names.parse("alice", emails=["other@example.com"]))
    outcome = lifecycle.issue(other, now=LATER)
    assert outcome.action == "issued"
    assert Identity.from_certificate(Credential.load(folder).leaf).name == "other@example.com"
    assert len(serials(lifecycle, "alice")) == 3


def test_a_folder_of_another_is_left_alone(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """Where another name's credential has come into a folder, rotating the first does not take it away."""
    lifecycle.issue(Request(ALICE.profile, ALICE.names, out=tmp_path / "tls"), now=NOW)
    shutil.rmtree(tmp_path / "tls")
    lifecycle.issue(Request(WEB.profile, WEB.names, out=tmp_path / "tls"), now=NOW)
    with pytest.raises(AlreadyExists, match="'web'"):
        lifecycle.rotate(None, now=LATER)
    assert Identity.from_certificate(Credential.load(tmp_path / "tls").leaf).name == "web.example.com"


def test_a_life_ends_with_the_authority(tmp_path: Path) -> None:
    """Clamped, and said so."""
    lifecycle = Lifecycle(State(tmp_path / "state"))
    authority, _ = lifecycle.init("Short", key=KeyType.P256, days=5, now=NOW)
    outcome = lifecycle.issue(WEB, now=NOW)
    assert outcome.clamped
    assert outcome.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc
    assert not lifecycle.issue(Request(ALICE.profile, ALICE.names, days=5), now=NOW).clamped


def test_ensure_keeps_what_is_asked_for_and_valid(lifecycle: Lifecycle) -> None:
    """Nothing is written: not for a second time, nor with another life."""
    assert lifecycle.issue(ALICE, now=NOW, ensure=True).action == "issued"
    before = snapshot(lifecycle.state.folder)
    for days in (None, 3):
        asked = Request(ALICE.profile, ALICE.names, days=days)
        assert lifecycle.issue(asked, now=LATER, ensure=True).action == "kept"
    assert snapshot(lifecycle.state.folder) == before


@pytest.mark.parametrize("damage", ["expired", "not yet", "no folder", "no key", "loose key", "bundle", "other key"])
def test_ensure_renews_what_is_not_usable(damage: str, lifecycle: Lifecycle) -> None:
    """Expired, gone, damaged or exposed: made anew, with the key type and life that it had."""
    asked = Request(ALICE.profile, ALICE.names, days=2, key=KeyType.P384)
    folder = lifecycle.issue(asked, now=NOW).folder
    now = NOW
    match damage:
        case "expired":
            now = NOW + timedelta(days=3)
        case "not yet":
            lifecycle.rotate(["alice"], now=NOW + timedelta(hours=2))
        case "no folder":
            shutil.rmtree(folder)
        case "no key":
            (folder / "tls.key").resolve().unlink()
        case "loose key":
            (folder / "tls.key").resolve().chmod(0o644)
        case "bundle":
            (folder / "ca.crt").resolve().write_bytes(b"")
        case "other key":
            (folder / "tls.key").resolve().write_bytes(key_pem(KeyType.P384.generate()))
    outcome = lifecycle.issue(ALICE, now=now, ensure=True)
    assert outcome.action == "rotated"
    assert (outcome.record.key, outcome.record.days) == (KeyType.P384, 2)
    assert load_folder(folder)[0].leaf == outcome.certificate
    assert lifecycle.issue(ALICE, now=now, ensure=True).action == "kept"


def test_ensure_follows_the_names_asked_for(lifecycle: Lifecycle) -> None:
    """Other names, another profile or key type than before: made anew as asked."""
    lifecycle.issue(ALICE, now=NOW)
    more = Names.parse("alice", emails=["alice@example.com", "a@example.com"])
    for request in (Request(ClientProfile(), more), Request(ClientProfile(), more, key=KeyType.P521)):
        assert lifecycle.issue(request, now=NOW, ensure=True).action == "rotated"
        assert lifecycle.issue(request, now=NOW, ensure=True).action == "kept"
    assert {entry.record.names for entry in lifecycle.entries(now=NOW)} == {more}


def test_ensure_and_list_notice_another_authority(lifecycle: Lifecycle) -> None:
    """After the authority was replaced, by one of the same name even, its leaves are orphans, and made anew."""
    lifecycle.issue(ALICE, now=NOW)
    shutil.rmtree(lifecycle.state.authority)
    lifecycle.init("An authority", key=KeyType.P256, now=NOW)
    assert [entry.standing for entry in current(lifecycle, NOW)] == ["orphaned"]
    outcome = lifecycle.issue(ALICE, now=NOW, ensure=True)
    assert outcome.action == "rotated"
    assert was_issued_by(outcome.certificate, load_folder(outcome.folder)[1].anchors[0])
    assert [entry.standing for entry in lifecycle.entries(now=NOW)] == ["valid", "orphaned"]
    assert len(load_folder(outcome.folder)[1]) == 1, "the lost one is not trusted any more"


def test_how_names_stand(lifecycle: Lifecycle) -> None:
    """Valid, expired, not yet valid, missing, damaged: each by name."""
    folder = lifecycle.issue(ALICE, now=NOW).folder

    def stands(now: datetime) -> str:
        (entry,) = lifecycle.entries(now=now)
        return entry.standing

    assert stands(NOW) == "valid"
    assert stands(NOW + timedelta(days=8)) == "expired"
    assert stands(NOW - timedelta(days=1)) == "future"
    (folder / "tls.crt").resolve().write_bytes(b"garbage")
    assert stands(NOW) == "damaged"
    (folder / "tls.crt").resolve().unlink()
    assert stands(NOW) == "damaged"
    shutil.rmtree(folder)
    assert stands(NOW) == "missing"


def test_a_credential_that_cannot_be_written_leaves_the_name_as_it_was(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """A new name is free as before, a rotated one has the certificate before; what was signed stays known."""
    nowhere = Path("/proc/handclasp")  # where not even root makes a folder
    with pytest.raises(CredentialError, match="cannot be written"):
        lifecycle.issue(Request(ALICE.profile, ALICE.names, out=nowhere), now=NOW)
    assert lifecycle.names() == []
    assert len(lifecycle.entries(now=NOW)) == 1
    first = lifecycle.issue(Request(ALICE.profile, ALICE.names, out=tmp_path / "tls"), now=NOW)
    shutil.rmtree(tmp_path / "tls")
    (tmp_path / "tls").touch()
    with pytest.raises(CredentialError, match="cannot be written"):
        lifecycle.rotate(None, now=NOW)
    (entry,) = current(lifecycle, NOW)
    assert entry.record == first.record
    assert len(lifecycle.entries(now=NOW)) == 3


def test_the_key_of_the_authority_under_a_passphrase(tmp_path: Path) -> None:
    """Encrypted at rest; wrong or missing: PassphraseError, which never shows it; listing needs none."""
    state = State(tmp_path / "state")
    secret = Lifecycle(state, b"correct horse")
    secret.init("CA", key=KeyType.P256, now=NOW)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (state.authority / "ca.key").read_bytes()
    secret.issue(ALICE, now=NOW)
    for wrong in (None, b"battery staple"):
        with pytest.raises(PassphraseError) as caught:
            Lifecycle(state, wrong).issue(WEB, now=NOW)
        assert "horse" not in str(caught.value) + str(caught.value.__cause__)
        assert "staple" not in str(caught.value) + str(caught.value.__cause__)
        with pytest.raises(PassphraseError):
            Lifecycle(state, wrong).init("CA", key=KeyType.P256, now=NOW, ensure=True)
    assert [entry.certificate.names.name for entry in Lifecycle(state).entries(now=NOW)] == ["alice"]


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("ca.crt", None, CorruptState),
        ("ca.crt", b"", CorruptState),
        ("ca.crt", b"garbage", CorruptState),
        ("ca.key", None, CorruptState),
        ("ca.key", b"", CorruptState),
        ("ca.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", CorruptState),
        ("ca.key", KeyType.P256.generate, CorruptState),
        ("ca.key", 0o640, InsecurePermissions),
    ],
)
def test_a_damaged_authority_is_not_worked_around(
    file: str, content: object, error: type[Exception], lifecycle: Lifecycle
) -> None:
    """Missing, empty, garbage, another's or exposed: the file is named, and nothing is issued or made in its place."""
    path = lifecycle.state.authority / file
    if content is None:
        path.unlink()
    elif isinstance(content, int):
        path.chmod(content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else key_pem(content()))
    before = snapshot(lifecycle.state.folder)
    for call in (
        lambda: lifecycle.issue(ALICE, now=NOW),
        lambda: lifecycle.init("CA", key=KeyType.P256, now=NOW, ensure=True),
    ):
        with pytest.raises(error, match=file) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert snapshot(lifecycle.state.folder) == before


def key_pem(key: object) -> bytes:
    return Credential.key_pem(type("Keyed", (), {"key": key})())


def test_a_second_writer_waits_and_then_names_the_first(lifecycle: Lifecycle) -> None:
    """Locked says which process holds the folder; readers are not kept waiting; a dead holder holds nothing."""
    code = (
        "import sys, time; from pathlib import Path; from pki.state import State\n"
        "with State(Path(sys.argv[1])).locked():\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lifecycle.state.folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"process {holder.pid} ") as caught:
            lifecycle.issue(ALICE, now=NOW)
        assert caught.value.pid == holder.pid
        assert lifecycle.entries(now=NOW) == []
        holder.kill()
    lifecycle.issue(ALICE, now=NOW)


def test_two_writers_take_turns(lifecycle: Lifecycle) -> None:
    """Four processes issue at once: every name is there in the end, and every record whole."""
    code = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from pki.lifecycle import Lifecycle, Request; from pki.names import Names\n"
        "from pki.profiles import ClientProfile\n"
        "from pki.state import State\n"
        "lifecycle = Lifecycle(State(Path(sys.argv[1]), patience=60))\n"
        "for number in range(5):\n"
        "    names = Names.parse(f'n{sys.argv[2]}-{number}', emails=['a@x.io'])\n"
        "    lifecycle.issue(Request(ClientProfile(), names), now=datetime(2026, 11, 23, 12, tzinfo=UTC))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(lifecycle.state.folder), str(number)]) for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    entries = lifecycle.entries(now=NOW)
    assert len(entries) == 20
    assert {entry.standing for entry in entries} == {"valid"}
    assert len({entry.certificate.serial for entry in entries}) == 20


def test_no_authority(tmp_path: Path) -> None:
    """In a folder that is not there, or empty: NotFound says how to make one, and makes nothing itself."""
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        lifecycle = Lifecycle(State(folder))
        for call in (
            lambda lifecycle=lifecycle: lifecycle.issue(ALICE, now=NOW),
            lambda lifecycle=lifecycle: lifecycle.rotate(None, now=NOW),
            lambda lifecycle=lifecycle: lifecycle.entries(now=NOW),
        ):
            with pytest.raises(NotFound, match="init"):
                call()
    assert not (tmp_path / "nowhere").exists()


def test_a_lifetime_is_checked_before_anything(lifecycle: Lifecycle) -> None:
    """Zero days, or beyond the year 9999 though the authority would have clamped it."""
    for days in (0, -1, 10**7, 10**30):
        with pytest.raises(UsageError):
            lifecycle.issue(Request(ALICE.profile, ALICE.names, days=days), now=NOW)
    with pytest.raises(InvalidName):
        lifecycle.issue(Request(ServerProfile(), ALICE.names), now=NOW)
    assert lifecycle.names() == []
