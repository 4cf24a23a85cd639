"""Several state folders on one inventory: each with an authority of its own, all of them trusted by everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.authority import was_issued_by
from pki.bulk import Line
from pki.credential import load_folder
from pki.errors import AlreadyExists, InventoryError, NotFound
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def client(name: str) -> Request:
    return Request(ClientProfile(), Names.parse(name, emails=[f"{name}@example.com"]))


@pytest.fixture
def hosts(postgresql_url: str, tmp_path: Path) -> list[Lifecycle]:
    """Two hosts, `a` and `b`, whose authorities were made one behind the other."""
    made = []
    for number, name in enumerate(("a", "b")):
        lifecycle = Lifecycle(State(tmp_path / name), None, postgresql_url, f"root@{name}")
        lifecycle.init(f"Authority {name}", key=KeyType.P256, now=NOW + timedelta(minutes=number))
        made.append(lifecycle)
    return made


def test_each_signs_with_its_own_and_trusts_all(hosts: list[Lifecycle]) -> None:
    """The host's own authority signs, though another was activated later; bundles hold both, its own first."""
    for lifecycle, name in zip(hosts, ("alice", "bob"), strict=True):
        signer = lifecycle.signer().row
        outcome = lifecycle.issue(client(name), now=NOW + timedelta(hours=1))
        assert was_issued_by(outcome.certificate, signer.certificate)
        assert set(load_folder(outcome.folder)[1].anchors) == {other.signer().row.certificate for other in hosts}
    rows = [(entry.certificate.names.name, entry.standing) for entry in hosts[0].entries(now=NOW + timedelta(hours=1))]
    assert rows == [("alice", "valid"), ("bob", "valid")]
    assert [entry.certificate.requested_by for entry in hosts[1].entries(now=NOW)] == ["root@a", "root@b"]


def test_a_name_is_one_hosts(hosts: list[Lifecycle]) -> None:
    """Issued by one, it is taken for the other; all names of a host are its own."""
    a, b = hosts
    now = NOW + timedelta(hours=1)
    a.issue(client("alice"), now=now)
    b.issue(client("bob"), now=now)
    with pytest.raises(AlreadyExists):
        a.issue(client("alice"), now=now)
    for call in (
        lambda: b.issue(client("alice"), now=now),
        lambda: b.issue(client("alice"), now=now, ensure=True),
        lambda: b.rotate(["alice"], now=now),
        lambda: b.renew(["alice"], now=now),
        lambda: b.issue_many([Line(2, client("alice"))], now=now),
    ):
        with pytest.raises(AlreadyExists, match="another state folder"):
            call()
    assert [outcome.record.names.name for outcome in a.rotate(None, now=now)] == ["alice"]
    due = now + timedelta(days=6)
    assert [outcome.record.names.name for outcome in b.renew_due(now=due).done] == ["bob"]
    assert not (b.state.folder / "credentials" / "alice").exists()


def test_the_inventory_is_not_forgotten(hosts: list[Lifecycle]) -> None:
    """Without --database: where it is, said without a password; no second one is begun in the folder."""
    state = hosts[0].state
    (state.folder / "inventory.url").write_text("postgresql+psycopg://u:***@db/x\n")
    for lifecycle in (Lifecycle(state), Lifecycle(state, None, None)):
        for call in (lifecycle.names, lambda lifecycle=lifecycle: lifecycle.issue(client("x"), now=NOW)):
            with pytest.raises(InventoryError, match=r"u:\*\*\*@db/x: pass --database"):
                call()
    assert not (state.folder / "inventory.db").exists()


def test_a_folder_with_an_inventory_of_its_own(postgresql_url: str, tmp_path: Path) -> None:
    """--database does not turn away from it: what it knows would be forgotten."""
    state = State(tmp_path / "state")
    Lifecycle(state).init("CA", key=KeyType.P256, now=NOW)
    with pytest.raises(InventoryError, match="has an inventory of its own"):
        Lifecycle(state, None, postgresql_url).names()


def test_an_inventory_that_does_not_know_the_authority(
    postgresql_url: str, hosts: list[Lifecycle], tmp_path: Path
) -> None:
    """A folder that was never introduced to it signs nothing by it, until `upgrade` does that."""
    state = State(tmp_path / "state")
    Lifecycle(state).init("Stranger", key=KeyType.P256, now=NOW)
    (state.folder / "inventory.db").unlink()
    stranger = Lifecycle(state, None, postgresql_url)
    with pytest.raises(NotFound, match="handclasp-pki upgrade"):
        stranger.issue(client("x"), now=NOW)
    stranger.upgrade()
    assert stranger.issue(client("x"), now=NOW).action == "issued"
    assert len(stranger.trust()) == 3


def test_a_lost_authority_of_a_shared_inventory_stays_trusted(hosts: list[Lifecycle]) -> None:
    """A missing folder may be another host's: nobody's trust is taken away by the way."""
    a, _ = hosts
    (a.state.folder / "authority").rename(a.state.folder / "away")
    a.init("Another", key=KeyType.P256, now=NOW + timedelta(hours=1))
    assert len(a.trust()) == 3


def test_the_commands(
    run: Callable[..., tuple[int, str, str]],
    fails: Callable[..., str],
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--database before or behind the command, or in the environment."""
    assert run("init", "--database", postgresql_url)[0] == 0
    assert run("--database", postgresql_url, "issue", "client", "alice", "--email", "a@x.io")[0] == 0
    assert run("issue", "--database", postgresql_url, "client", "bob", "--email", "a@x.io")[0] == 0
    monkeypatch.setenv("HANDCLASP_DATABASE", postgresql_url)
    assert run("list")[1].count("valid") == 2
    assert run("renew", "alice")[0] == 0
    monkeypatch.setenv("HANDCLASP_DATABASE", "")
    assert "pass --database" in fails(1, "list")
    fails(2, "list", "--database", "nonsense")
    assert not Path("state/inventory.db").exists()
