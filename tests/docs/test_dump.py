"""docs/drills.md's words for a backup of an inventory in PostgreSQL are run: dumped, lost, restored."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.tools import require

if TYPE_CHECKING:
    from tests.support.postgresql import Server

PAGE = Path(__file__).parents[2] / "docs" / "drills.md"


@pytest.mark.slow
def test_what_is_dumped_comes_back(tmp_path: Path, postgresql_server: Server, postgresql_url: str) -> None:
    """The inventory lists, after its tables were lost, whom it listed before."""
    block = re.search(r"^```sh\n(pg_dump .*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block
    dump, restore = block[1].splitlines()
    (tmp_path / "backup").mkdir()
    programs = Path(require("postgresql")).parent

    def run(words: str, fails: bool = False) -> str:
        path = f"{Path(sys.executable).parent}:{programs}:/usr/bin:/bin"
        urls = {"HANDCLASP_DATABASE": postgresql_url, "DATABASE": postgresql_url.replace("+psycopg", "")}
        done = subprocess.run(
            ["sh", "-c", words], cwd=tmp_path, env={"PATH": path, **urls},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stderr
        return done.stdout

    run("handclasp-pki init")
    run("handclasp-pki issue client alice --email alice@example.com")
    run("handclasp-pki revoke --name alice --yes")
    before = run("handclasp-pki list --json")
    assert "alice@example.com" in before

    run(dump)
    run('psql --quiet --dbname="$DATABASE" --command="DROP SCHEMA public CASCADE; CREATE SCHEMA public"')
    run("handclasp-pki list", fails=True)
    run(restore)
    assert run("handclasp-pki list --json") == before
    run("handclasp-pki doctor")
