"""An authority whose inventory is in SQLite and in PostgreSQL, in turn, and the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pki.cli import main
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def notes() -> list[str]:
    """What the lifecycle has said beside what it was asked for."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def lifecycle(request: pytest.FixtureRequest, tmp_path: Path, notes: list[str]) -> Lifecycle:
    """An authority in `tmp_path / "state"`, made at NOW."""
    database = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
    made = Lifecycle(State(tmp_path / "state", patience=0.1), None, database, "alice@host", notes.append)
    made.init("An authority", key=KeyType.P256, now=NOW)
    return made


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in `tmp_path`; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fails(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run a command that has to fail: with this code, nothing on stdout, one line on stderr, which is returned."""

    def call(code: int, *arguments: str | Path) -> str:
        got, out, err = run(*arguments)
        assert (got, out) == (code, ""), err
        assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", err), err
        return err

    return call
