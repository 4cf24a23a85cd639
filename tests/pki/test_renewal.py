"""New dates for the same identity: who gets them, who does not, and when."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.credential import Credential, load_folder
from pki.errors import CredentialError, NotFound, PKIError, StateError
from pki.identity import Identity
from pki.issuing import Outcome, Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile, ServerProfile
from pki.renewal import LATEST, SPREAD, Refused, due_at
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.inventory.rows import CertificateRow

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
COMMAND = Path(sys.executable).with_name("handclasp-pki")


def client(name: str, days: int | None = None) -> Request:
    return Request(ClientProfile(), Names.parse(name, emails=[f"{name}@example.com"]), days)


def latest(lifecycle: Lifecycle, name: str) -> CertificateRow:
    return lifecycle.entries(now=NOW, name=name)[0].certificate


def revoke(lifecycle: Lifecycle, name: str) -> None:
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        row = work.names.get(name)
        assert row is not None
        assert work.revocations.set_revoked(row.serial, "keyCompromise", NOW)


def hold(lifecycle: Lifecycle, name: str) -> None:
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        row = work.names.get(name)
        assert row is not None
        assert work.revocations.hold(row.serial, NOW)


def test_a_renewal_keeps_the_identity(lifecycle: Lifecycle) -> None:
    """Same names, profile and life in the same folder; new dates, and a new key."""
    request = Request(ServerProfile(), Names.parse("web", dns_names=["w.example"], ip_addresses=["::1"]), 9)
    first = lifecycle.issue(request, now=NOW)
    (second,) = lifecycle.renew(["web"], now=NOW + DAY)
    assert (second.action, second.folder) == ("renewed", first.folder)
    one, two = (Identity.from_certificate(outcome.certificate) for outcome in (first, second))
    assert (one.name, one.dns_names) == (two.name, two.dns_names)
    assert two.not_after == NOW + 10 * DAY
    assert first.certificate.public_key() != second.certificate.public_key()
    assert Credential.load(second.folder).leaf == second.certificate
    row = latest(lifecycle, "web")
    assert (row.serial, row.requested_by, row.issued_at) == (two.serial, "alice@host", NOW + DAY)


def test_the_same_key_on_request(lifecycle: Lifecycle) -> None:
    """--same-key keeps it, again and again; a key that is gone, or of another certificate, is no such key."""
    first = lifecycle.issue(client("alice"), now=NOW)
    lifecycle.issue(client("bob"), now=NOW)
    for number in (1, 2):
        (renewed,) = lifecycle.renew(["alice"], now=NOW + number * DAY, same_key=True)
        assert renewed.certificate.public_key() == first.certificate.public_key()
        assert load_folder(first.folder)[0].leaf == renewed.certificate
    before = lifecycle.entries(now=NOW)
    folder = lifecycle.state.folder / "credentials"
    shutil.copytree(folder / "alice", folder / "copy", symlinks=True)
    lifecycle.rotate(["alice"], now=NOW + 2 * DAY)
    shutil.rmtree(folder / "alice")
    (folder / "copy").rename(folder / "alice")
    with pytest.raises(StateError, match="--same-key"):
        lifecycle.renew(["alice"], now=NOW + 2 * DAY, same_key=True)
    shutil.rmtree(folder / "bob")
    with pytest.raises(CredentialError):
        lifecycle.renew(["bob"], now=NOW + 2 * DAY, same_key=True)
    assert len(lifecycle.entries(now=NOW)) == len(before) + 1


def test_who_is_not_renewed(lifecycle: Lifecycle) -> None:
    """Revoked, on hold or ended: said with what to do instead, before any of them is touched."""
    for name in ("alice", "revoked", "held", "short"):
        lifecycle.issue(client(name, 1 if name == "short" else None), now=NOW)
    revoke(lifecycle, "revoked")
    hold(lifecycle, "held")
    before = lifecycle.entries(now=NOW)
    for name, cure in (("revoked", "issue client revoked --again"), ("held", "unhold"), ("short", "rotate short")):
        with pytest.raises(StateError, match=cure):
            lifecycle.renew(["alice", name], now=NOW + 2 * DAY)
    with pytest.raises(NotFound, match="known are alice, held, revoked, short"):
        lifecycle.renew(["alice", "nobody"], now=NOW)
    assert lifecycle.entries(now=NOW) == before


def test_a_revoked_name_comes_back_on_request_alone(lifecycle: Lifecycle, notes: list[str]) -> None:
    """Not by rotate, nor by --all, nor by --ensure; by `issue --again`, in its folder, and then it is as any other."""
    for name in ("alice", "bob"):
        lifecycle.issue(client(name), now=NOW)
    revoke(lifecycle, "alice")
    with pytest.raises(StateError, match="--again"):
        lifecycle.rotate(["alice"], now=NOW)
    for ensure in (False, True):
        with pytest.raises(StateError, match="was revoked"):
            lifecycle.issue(client("alice"), now=NOW, ensure=ensure)
    assert [outcome.record.names.name for outcome in lifecycle.rotate(None, now=NOW)] == ["bob"]
    assert len(notes) == 1
    assert notes[0].startswith("left as it is: alice was revoked")
    outcome = lifecycle.issue(client("alice"), now=NOW, again=True)
    assert outcome.action == "issued"
    assert load_folder(outcome.folder)[0].leaf == outcome.certificate
    assert [entry.standing for entry in lifecycle.entries(now=NOW, name="alice")] == ["valid", "revoked"]
    assert lifecycle.renew(["alice"], now=NOW)
    hold(lifecycle, "bob")
    with pytest.raises(StateError, match="unhold"):
        lifecycle.issue(client("bob"), now=NOW, again=True)


def test_when_certificates_fall_due(lifecycle: Lifecycle) -> None:
    """None before, each at a time of its own that does not change, all of them at two thirds of their life."""
    for number in range(12):
        lifecycle.issue(client(f"c{number:02}", 30), now=NOW)
    life = 30 * DAY + timedelta(minutes=1)
    begin = NOW - timedelta(minutes=1)
    times = [due_at(entry.certificate) for entry in lifecycle.entries(now=NOW)]
    assert times == [due_at(entry.certificate) for entry in lifecycle.entries(now=NOW)]
    assert len(set(times)) == 12
    assert all(begin + (LATEST - SPREAD) * life <= moment <= begin + LATEST * life for moment in times)
    assert lifecycle.renew_due(now=begin + life * 0.616).done == ()
    half = sorted(times)[5]
    told: list[Outcome | Refused] = []
    done = lifecycle.renew_due(now=half, on_each=told.append).done
    assert list(done) == told
    assert [outcome.record.names.name for outcome in done] == [
        f"c{number:02}" for number, moment in enumerate(times) if moment <= half
    ]
    assert len(lifecycle.renew_due(now=begin + life * 2 / 3).done) == 12 - len(done)
    assert lifecycle.renew_due(now=begin + life * 2 / 3).done == ()


def test_what_is_due_and_cannot_be_renewed(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """A folder that cannot be written is one refusal; the others are renewed; revoked and ended ones are not due."""
    for name in ("alice", "bob", "revoked", "held"):
        lifecycle.issue(client(name), now=NOW)
    lifecycle.issue(client("short", 1), now=NOW)
    revoke(lifecycle, "revoked")
    hold(lifecycle, "held")
    folder = lifecycle.state.folder / "credentials" / "alice"
    shutil.rmtree(folder)
    folder.touch()
    renewals = lifecycle.renew_due(now=NOW + 6 * DAY)
    assert [outcome.record.names.name for outcome in renewals.done] == ["bob"]
    (refused,) = renewals.refused
    assert refused.name == "alice"
    assert isinstance(refused.error, PKIError)
    stopped = lifecycle.renew_due(now=NOW + 6 * DAY, stop=lambda: True)
    assert (stopped.done, stopped.refused) == ((), ())


def test_what_ends_with_its_authority_is_not_renewed_for_nothing(tmp_path: Path) -> None:
    """It would end at the same time again, and be due again soon: once said, not done."""
    notes: list[str] = []
    lifecycle = Lifecycle(State(tmp_path / "state"), note=notes.append)
    lifecycle.init("Short", key=KeyType.P256, days=5, now=NOW)
    lifecycle.issue(client("alice"), now=NOW)
    assert lifecycle.renew_due(now=NOW + 4 * DAY).done == ()
    assert "ends on 2026-11-28 with its authority" in notes[0]


def test_words_that_make_no_sense(fails: Callable[..., str]) -> None:
    """None, several ways at once, a span that is none: exit 2."""
    for words in ("", "alice --due", "--due --daemon", "--daemon --every soon", "--daemon --every 0s"):
        fails(2, "renew", *words.split())


def test_the_command(run: Callable[..., tuple[int, str, str]]) -> None:
    """A name, or what is due; exit 1 where one that is due was not renewed."""
    lifecycle = Lifecycle(State(Path("state")))
    lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC) - 3 * DAY)
    run("issue", "client", "alice", "--email", "a@x.io")
    assert run("renew", "alice")[1].startswith("renewed client alice (a@x.io), valid until ")
    assert run("renew", "--due") == (0, "nothing is due\n", "")
    lifecycle.issue(client("old", 3), now=datetime.now(UTC) - 2.5 * DAY)
    lifecycle.issue(client("broken", 3), now=datetime.now(UTC) - 2.5 * DAY)
    shutil.rmtree("state/credentials/broken")
    Path("state/credentials/broken").touch()
    code, out, err = run("renew", "--due")
    assert code == 1
    assert out.startswith("renewed client old (old@example.com)")
    assert err.startswith("handclasp-pki: error: broken was not renewed: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon(number: signal.Signals, tmp_path: Path) -> None:
    """Renews what falls due, goes on behind an error that it reports, and ends with 0 when it is told to."""
    lifecycle = Lifecycle(State(tmp_path / "state", patience=30))
    lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC) - 3 * DAY)
    lifecycle.issue(client("alice", 3), now=datetime.now(UTC) - 2.5 * DAY)
    words = [COMMAND, "--state", tmp_path / "state", "renew", "--daemon", "--every", "1s"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as daemon:
        assert daemon.stdout is not None
        assert daemon.stderr is not None
        assert daemon.stdout.readline() == "renewing what falls due\n"
        assert daemon.stdout.readline().startswith("renewed client alice")
        database = tmp_path / "state" / "inventory.db"
        with lifecycle.state.locked():
            away = database.rename(tmp_path / "away.db")
            database.write_bytes(b"garbage" * 1000)
        assert "is damaged" in daemon.stderr.readline()
        with lifecycle.state.locked():
            away.replace(database)
        lifecycle.issue(client("bob", 3), now=datetime.now(UTC) - 2.5 * DAY)
        assert daemon.stdout.readline().startswith("renewed client bob")
        daemon.send_signal(number)
        assert daemon.wait(20) == 0
        assert "Traceback" not in daemon.stderr.read()
