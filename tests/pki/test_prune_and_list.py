"""What `list` shows of certificates, and what `prune` forgets of them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.durations import parse_duration
from pki.errors import UsageError
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def client(name: str, days: int | None = None) -> Request:
    return Request(ClientProfile(), Names.parse(name, emails=[f"{name}@example.com"]), days)


def standings(lifecycle: Lifecycle, now: datetime) -> list[tuple[str, str, bool]]:
    return [(entry.certificate.names.name, entry.standing, entry.current) for entry in lifecycle.entries(now=now)]


def test_every_certificate_stands_for_itself(lifecycle: Lifecycle) -> None:
    """By name, newest first; the current one is the one in the folder, or the latest where that is gone."""
    for name in ("bob", "alice"):
        lifecycle.issue(client(name, 3), now=NOW)
    lifecycle.rotate(["alice"], now=NOW + DAY)
    assert standings(lifecycle, NOW + DAY) == [
        ("alice", "valid", True), ("alice", "valid", False), ("bob", "valid", True),
    ]  # fmt: skip
    folder = lifecycle.state.folder / "credentials"
    copy = lifecycle.state.folder / "copy"
    shutil.copytree(folder / "alice", copy, symlinks=True)
    lifecycle.rotate(["alice"], now=NOW + DAY)
    shutil.rmtree(folder / "alice")
    copy.rename(folder / "alice")
    assert standings(lifecycle, NOW + DAY)[:2] == [("alice", "valid", False), ("alice", "valid", True)]
    shutil.rmtree(folder / "alice")
    shutil.copytree(folder / "bob", folder / "alice", symlinks=True)
    assert standings(lifecycle, NOW + DAY)[:2] == [("alice", "damaged", True), ("alice", "valid", False)]
    assert [entry.certificate.names.name for entry in lifecycle.entries(now=NOW, name="bob")] == ["bob"]
    assert lifecycle.entries(now=NOW, name="nobody") == []


def test_what_is_decided_goes_before_what_the_clock_says(lifecycle: Lifecycle) -> None:
    """Revoked and held ones stay that, also behind their end and without a folder."""
    for name in ("held", "revoked"):
        lifecycle.issue(client(name), now=NOW)
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        rows = {row.names.name: row.serial for row in work.names.all()}
        work.revocations.hold(rows["held"], NOW)
        work.revocations.set_revoked(rows["revoked"], "superseded", NOW)
    shutil.rmtree(lifecycle.state.folder / "credentials")
    for now in (NOW, NOW + 30 * DAY, NOW - 30 * DAY):
        assert standings(lifecycle, now) == [("held", "held", True), ("revoked", "revoked", True)]


def test_prune_keeps_what_is_needed(lifecycle: Lifecycle) -> None:
    """Ended ones go; the one that is in its folder stays, a name without anything left goes too."""
    for name in ("alice", "gone"):
        lifecycle.issue(client(name, 1), now=NOW)
    lifecycle.rotate(["alice"], now=NOW + timedelta(hours=1))
    lifecycle.issue(client("live"), now=NOW)
    lifecycle.issue(client("revoked", 1), now=NOW)
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        row = work.names.get("revoked")
        assert row is not None
        work.revocations.set_revoked(row.serial, "superseded", NOW)
    for name in ("gone", "revoked"):
        shutil.rmtree(lifecycle.state.folder / "credentials" / name)
    assert (lifecycle.prunable(expired_before=NOW), lifecycle.prune(expired_before=NOW)) == (0, 0)
    later = NOW + 10 * DAY
    assert lifecycle.prunable(expired_before=NOW + 3 * DAY) == 2
    assert lifecycle.prune(expired_before=NOW + 3 * DAY) == 2
    assert standings(lifecycle, later) == [
        ("alice", "expired", True), ("live", "expired", True), ("revoked", "revoked", True),
    ]  # fmt: skip
    assert lifecycle.names() == ["alice", "live", "revoked"]
    lifecycle.rotate(["alice"], now=later)
    lifecycle.issue(client("gone"), now=later)


def test_the_commands(
    run: Callable[..., tuple[int, str, str]], fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`list` narrowed, `prune` asked for and answered; without a terminal it needs --yes."""
    lifecycle = Lifecycle(State(Path("state")))
    past = datetime.now(UTC) - 60 * DAY
    lifecycle.init("CA", key=KeyType.P256, now=past)
    lifecycle.issue(client("alice"), now=past)
    lifecycle.rotate(["alice"], now=datetime.now(UTC))
    assert [entry["state"] for entry in json.loads(run("list", "--json")[1])] == ["valid", "expired"]
    assert len(json.loads(run("list", "--json", "--only", "expired")[1])) == 1
    assert len(json.loads(run("list", "--json", "--only", "expired", "--only", "valid")[1])) == 2
    assert json.loads(run("list", "--json", "--name", "bob")[1]) == []
    assert run("list", "--only", "held")[1] == "nothing like that has been issued\n"
    assert "valid" in fails(2, "list", "--only", "nonsense")
    assert "--yes" in fails(2, "prune", "--expired-before", "30d")
    for text in ("soon", "2026-13-01", "0d", "9999-01-01", ""):
        fails(2, "prune", "--expired-before", text, "--yes")
    assert "left to forget" in run("prune", "--expired-before", "90d")[1]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, **_: question.startswith("Forget 1 certificate ") or 1 / 0)
    assert run("prune", "--expired-before", "30d")[1].startswith("forgot 1 certificate that ended before ")
    assert [entry["state"] for entry in json.loads(run("list", "--json")[1])] == ["valid"]


@pytest.mark.parametrize(
    ("text", "span"), [("90d", 90 * DAY), ("24h", DAY), ("15m", DAY / 96), ("30s", DAY / 2880), ("2w", 14 * DAY)]
)
def test_spans_of_time(text: str, span: timedelta) -> None:
    """A number and a letter."""
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "0h", "1", "h", "-1h", "1.5h", "1h30m", "999999999w", "٣h", " 1h"])
def test_no_span_of_time(text: str) -> None:
    """Everything else: UsageError."""
    with pytest.raises(UsageError, match="24h"):
        parse_duration(text)
