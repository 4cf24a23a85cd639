"""The inventory at a glance: counted, searched, laid out in time, the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pki.crl_signing import Reason
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State
from services.pages.timeline import WIDTH, timeline

if TYPE_CHECKING:
    from pathlib import Path

    from pki.survey import Survey

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def lifecycle(tmp_path: Path, inventory_url: str) -> Lifecycle:
    lifecycle = Lifecycle(State(tmp_path / "state"), database=inventory_url)
    lifecycle.init("Survey CA", key=KeyType.P256, now=NOW - 10 * DAY)
    return lifecycle


def issue(lifecycle: Lifecycle, name: str, days: int = 7, at: datetime = NOW) -> None:
    lifecycle.issue(Request(ClientProfile(), Names.parse(name, emails=[f"{name}@example.com"]), days), now=at)


def named(survey: Survey) -> list[str]:
    return [row.names.name for row, _ in survey.certificates]


def test_nothing_was_issued(lifecycle: Lifecycle) -> None:
    survey = lifecycle.survey(now=NOW)
    assert (survey.found, survey.certificates, survey.revoked, sum(survey.ends)) == (0, (), (), 0)
    assert survey.until == NOW
    assert [row.name for row in survey.authorities] == ["Survey CA"]
    assert timeline(survey).bars == ()


def test_words_find_names_sans_and_serial_numbers(lifecycle: Lifecycle) -> None:
    """Whatever their case; what is a wildcard to a database is a letter here."""
    for number, name in enumerate(("alice", "bob", "al_ce")):
        issue(lifecycle, name, at=NOW + timedelta(seconds=number))
    assert named(lifecycle.survey(now=NOW)) == ["al_ce", "bob", "alice"]
    assert named(lifecycle.survey(now=NOW, words="ALICE@")) == ["alice"]
    assert named(lifecycle.survey(now=NOW, words="al_ce")) == ["al_ce"]
    assert named(lifecycle.survey(now=NOW, words="%")) == []
    assert named(lifecycle.survey(now=NOW, words="'; DROP TABLE names; --")) == []
    serial = lifecycle.survey(now=NOW, words="bob").certificates[0][0].serial
    assert named(lifecycle.survey(now=NOW, words=serial[:12].upper())) == ["bob"]
    everything = lifecycle.survey(now=NOW, words="example.com", limit=2)
    assert (everything.found, len(everything.certificates)) == (3, 2)


def test_ends_are_counted_in_equal_parts(lifecycle: Lifecycle) -> None:
    """Those that live: the last of them is in the last part."""
    for number, days in enumerate((1, 24, 48)):
        issue(lifecycle, f"days{number}", days=days)
    issue(lifecycle, "over", days=1, at=NOW - 5 * DAY)
    survey = lifecycle.survey(now=NOW)
    assert [number for number, count in enumerate(survey.ends) if count] == [0, 23, 47]
    assert sum(survey.ends) == 3
    assert timedelta(0) <= survey.until - (NOW + 48 * DAY) < timedelta(minutes=1)
    drawn = timeline(survey)
    assert [round(bar.x / WIDTH * 48) for bar in drawn.bars] == [0, 23, 47]
    assert [bar.soon for bar in drawn.bars] == [True, False, False]
    assert drawn.words.startswith("3 living. First: 1 ends between ")


def test_the_revoked_are_told_with_their_reason(lifecycle: Lifecycle) -> None:
    for name in ("alice", "bob"):
        issue(lifecycle, name)
    row, _ = lifecycle.survey(now=NOW, words="bob").certificates[0]
    lifecycle.revoke([row], Reason.KEY_COMPROMISE, now=NOW)
    survey = lifecycle.survey(now=NOW)
    assert [(row.names.name, row.reason) for row in survey.revoked] == [("bob", "keyCompromise")]
    assert {row.names.name: standing for row, standing in survey.certificates}["bob"] == "revoked"
    assert (survey.counts.revoked, sum(survey.ends)) == (1, 1)
