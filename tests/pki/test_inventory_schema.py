"""The schema: made by migrations alone, the one that the code knows, and no other is touched."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from pki.errors import CorruptState, InventoryError, UsageError
from pki.inventory.database import Database
from pki.inventory.migrate import configuration
from pki.inventory.schema import HEAD, VERSIONS, metadata
from pki.inventory.store import Inventory

if TYPE_CHECKING:
    from pathlib import Path


def set_version(database: Database, version: str) -> None:
    engine = database.engine()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    engine.dispose()


def test_migrations_make_what_the_code_knows(inventory_url: str) -> None:
    """Alembic finds no difference between what its migrations made and the tables of the code."""
    with Inventory.create(Database.parse(inventory_url)) as inventory:
        assert inventory.version() == HEAD
        assert not inventory.migrate()
        with inventory._engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_code_knows_the_migrations() -> None:
    """Their newest is HEAD, and VERSIONS are all of them."""
    script = ScriptDirectory.from_config(configuration())
    assert script.get_current_head() == HEAD == VERSIONS[-1]
    assert [one.revision for one in script.walk_revisions()] == list(reversed(VERSIONS))


def test_a_schema_of_another_time(inventory_url: str) -> None:
    """None yet: the cure is named. Of a newer program: refused, by `create` too. Nothing is changed."""
    database = Database.parse(inventory_url)
    if database.path:
        database.path.touch(0o600)
    with pytest.raises(InventoryError, match="handclasp-pki upgrade"):
        Inventory.open(database)
    Inventory.create(database).close()
    set_version(database, "v9999")
    for way in (Inventory.open, Inventory.create):
        with pytest.raises(InventoryError, match="update this program") as caught:
            way(database)
        assert "v9999" in str(caught.value)


def test_two_make_it_at_once(inventory_url: str) -> None:
    """Four processes on an empty database: each of them finds it made."""
    database = Database.parse(inventory_url)
    code = (
        "import sys; from pki.inventory.database import Database; from pki.inventory.store import Inventory\n"
        "Inventory.create(Database.parse(sys.argv[1])).close()"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code, inventory_url]) for _ in range(4)]
    assert [maker.wait(60) for maker in makers] == [0] * 4
    Inventory.open(database).close()
    if database.path:
        assert [path.name for path in database.path.parent.iterdir()] == ["inventory.db"]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "://secret"]
)
def test_what_is_no_database(text: str) -> None:
    """One line that shows how it looks, and not what was typed: it may hold a password."""
    with pytest.raises(UsageError, match="looks like") as caught:
        Database.parse(text)
    assert "secret" not in str(caught.value)


def test_no_password_is_shown() -> None:
    """Not in the name of the database, not in a failed connection, not in the error's cause."""
    database = Database.parse("postgresql://root:s3cret@127.0.0.1:1/inventory?connect_timeout=2")
    with pytest.raises(InventoryError, match="cannot be reached") as caught:
        Inventory.open(database)
    shown = f"{database}{caught.value}{caught.value.__cause__!r}"
    assert "s3cret" not in shown
    assert "root:***@127.0.0.1" in str(caught.value)
    assert str(caught.value).isprintable()


def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg is not installed: the message says how to install it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InventoryError, match=r"pip install 'handclasp\[postgres\]'"):
        Inventory.open(Database.parse("postgresql://localhost/inventory"))


@pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\0" + b"\xff" * 4096, b"\0" * 8192])
def test_a_file_that_is_no_database(content: bytes, tmp_path: Path) -> None:
    """CorruptState, which names the file; its bytes stay as they are."""
    database = Database.in_folder(tmp_path)
    (tmp_path / "inventory.db").write_bytes(content)
    for way in (Inventory.open, Inventory.create):
        with pytest.raises(CorruptState, match=r"inventory\.db is damaged") as caught:
            way(database)
        assert str(caught.value).isprintable()
    assert (tmp_path / "inventory.db").read_bytes() == content


def test_a_password_among_the_parameters_is_not_shown() -> None:
    """libpq takes it there too: it is in no message, and in nothing that is written down."""
    url = "postgresql://h.invalid/d?sslmode=require&password=topsecret&sslpassword=another"
    database = Database.parse(url)
    assert str(database) == "postgresql+psycopg://h.invalid/d?sslmode=require"
    assert database.passwords == ("topsecret", "another")
    with pytest.raises(InventoryError) as caught, Inventory.open(database):
        pass
    assert "secret" not in str(caught.value)
