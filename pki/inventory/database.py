"""Which database holds the inventory: SQLite in a file of the state folder, or a PostgreSQL that several share."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from pki.errors import InventoryError, UsageError
from pki.files import PRIVATE_FILE, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

FILE = "inventory.db"
_NEW = ".new"
# How long a writer waits for another one's transaction. State folders have a lock of their own, which is friendlier.
_PATIENCE = 10
_SQLITE_BEGIN = "sqlite_begin"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_EXAMPLE = "postgresql+psycopg://USER@HOST/DATABASE"


@dataclass(frozen=True, slots=True)
class Database:
    """A database, there or not. `str` of it names it without its password."""

    url: URL

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """The SQLite file of a state folder."""
        return cls(URL.create("sqlite", database=str(folder / FILE)))

    @classmethod
    def parse(cls, text: str) -> Database:
        """The database of a URL that was typed. Raises UsageError, which does not repeat it: it may hold a password."""
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise UsageError(f"the --database is no URL: it looks like {_EXAMPLE}") from error
        if url.drivername in _POSTGRESQL:
            return cls(url.set(drivername="postgresql+psycopg"))
        if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
            return cls(url)
        raise UsageError(
            f"the --database is of a kind that is not supported ({url.drivername}): it looks like {_EXAMPLE}"
        )

    @property
    def path(self) -> Path | None:
        """The file of SQLite's; None for PostgreSQL."""
        return Path(self.url.database or "") if self.url.drivername == "sqlite" else None

    @property
    def passwords(self) -> tuple[str, ...]:
        """What nobody is to be shown of the URL: before the host, or as a parameter behind it (libpq 34.1.2)."""
        given = [self.url.password, *(value for key, value in self.url.query.items() if _is_secret(key))]
        return tuple(str(password) for password in given if password)

    def exists(self) -> bool:
        """Whether there is something to open. Always for PostgreSQL: opening it tells. Raises InventoryError."""
        if self.path is None:
            return True
        try:
            size = self.path.stat().st_size
            with self.path.open("rb"):
                return size > 0
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InventoryError(f"{self} cannot be read: {error.strerror}", path=self.path) from error

    @contextlib.contextmanager
    def making(self) -> Iterator[Database | None]:
        """A new file beside SQLite's, to make the tables in; it takes its place when the block ends well.

        For its owner alone: SQLite itself would ask the umask. Where somebody else is faster, theirs stays. None for
        PostgreSQL, which has nothing to make. Raises InventoryError.
        """
        if self.path is None:
            yield None
            return
        beside = self.path.with_name(f"{_prefix(self.path)}{secrets.token_hex(8)}{_NEW}")
        try:
            os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
            yield type(self)(URL.create("sqlite", database=str(beside)))
            with contextlib.suppress(FileExistsError):
                os.link(beside, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise InventoryError(f"{self} cannot be made: {error.strerror}", path=self.path) from error
        finally:
            self._clear(f"{beside.name}*")

    def clear(self) -> None:
        """Remove what a killed `making` left beside the file. For one process at a time: hold a lock."""
        if self.path is not None:
            self._clear(f"{_prefix(self.path)}*{_NEW}*")

    def engine(self) -> Engine:
        """The way to talk to it. Nothing is connected yet. Raises InventoryError where a driver is missing."""
        if self.path is None:
            return self._postgresql()
        engine = create_engine(self.url, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def __str__(self) -> str:
        """The name for messages: the path, or the URL; its password is hidden, and as a parameter left out."""
        if self.path is not None:
            return str(self.path)
        secret = [key for key in self.url.query if _is_secret(key)]
        return self.url.difference_update_query(secret).render_as_string(hide_password=True)

    def _clear(self, pattern: str) -> None:
        with contextlib.suppress(OSError):
            for file in list((self.path or Path()).parent.glob(pattern)):
                file.unlink()

    def _postgresql(self) -> Engine:
        try:
            engine = create_engine(self.url, connect_args={"connect_timeout": _PATIENCE}, hide_parameters=True)
        except ImportError as error:
            raise InventoryError(
                "PostgreSQL needs a package that is not installed: pip install 'handclasp[postgres]'"
            ) from error
        event.listen(engine, "connect", _set_up_postgresql)
        return engine


def _is_secret(parameter: str) -> bool:
    return parameter.lower() in ("password", "sslpassword")


def _prefix(path: Path) -> str:
    return f".{path.name}."


def reading(connection: Connection) -> Connection:
    """Let a connection, before its transaction begins, only read, and see one moment throughout."""
    if connection.dialect.name == "sqlite":
        return connection.execution_options(**{_SQLITE_BEGIN: "BEGIN"})
    return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # Transactions begin where we say so (`_begin_sqlite`), not where the driver believes that they have to.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_PATIENCE * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",  # a committed row is on the disk: the certificate may leave
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: one that reads first and writes then could not wait for another writer, and would fail.
    connection.exec_driver_sql(connection.get_execution_options().get(_SQLITE_BEGIN, "BEGIN IMMEDIATE"))


def _set_up_postgresql(connection: Any, _record: object) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{_PATIENCE}s'")
    connection.autocommit = False
