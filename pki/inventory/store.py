"""Inventory: a database that is open, and the transactions in which it is asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from sqlalchemy import func, select, text

from pki.errors import InventoryError
from pki.inventory import database as databases
from pki.inventory.authorities import Authorities
from pki.inventory.certificates import Certificates
from pki.inventory.names import NamesTable
from pki.inventory.revocations import Revocations
from pki.inventory.rows import Counts
from pki.inventory.schema import HEAD, VERSIONS, authorities, certificates, names
from pki.inventory.tokens import Tokens
from pki.inventory.translation import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Table

    from pki.inventory.database import Database


class Transaction:
    """What can be asked and said in one transaction; a table each."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection, self._database = connection, database
        self.authorities = Authorities(connection)
        self.names = NamesTable(connection)
        self.certificates = Certificates(connection)
        self.revocations = Revocations(connection)
        self.tokens = Tokens(connection)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """A part that is whole or not at all: where the block fails, the rest of the transaction stands."""
        with translated(self._database), self._connection.begin_nested():
            yield

    def counts(self) -> Counts:
        """How much there is."""
        state = certificates.c.state
        return Counts(
            authorities=self._count(authorities),
            names=self._count(names),
            certificates=self._count(certificates),
            revoked=self._count(certificates, state == "revoked"),
            held=self._count(certificates, state == "held"),
        )

    def _count(self, table: Table, *where: ColumnElement[bool]) -> int:
        return self._connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


class Inventory:
    """An open inventory; close it, or use it in a `with`. For one thread.

    Whatever the database does is InventoryError, CorruptState or Locked. A transaction of which a part fails has
    changed nothing.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._engine = database.engine()

    @classmethod
    def open(cls, database: Database) -> Inventory:
        """The inventory that is there, its schema the one that this program knows. Raises InventoryError."""
        inventory = cls(database)
        try:
            inventory.check()
        except BaseException:
            inventory.close()
            raise
        return inventory

    @classmethod
    def create(cls, database: Database) -> Inventory:
        """The inventory, made where there is none, and brought up to the schema that this program knows.

        Interrupted at any instant, it can be called again: SQLite's file appears with its tables in it.
        """
        if not database.exists():
            with database.making() as beside:
                if beside is not None:
                    with cls(beside) as new:
                        new.migrate()
        inventory = cls(database)
        try:
            inventory.migrate()
        except BaseException:
            inventory.close()
            raise
        return inventory

    def close(self) -> None:
        """Let go of the database."""
        with translated(self.database):
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> str | None:
        """The version of its schema; None where it has no tables of ours."""
        with translated(self.database), databases.reading(self._engine.connect()) as connection:
            if not connection.dialect.has_table(connection, "alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def check(self) -> None:
        """Raise InventoryError where the schema is not the one that this program knows."""
        version = self._known_version()
        if version is None:
            raise InventoryError(
                f"{self.database} holds no inventory yet: make it with `handclasp-pki upgrade`", path=self.database.path
            )
        if version != HEAD:
            raise InventoryError(
                f"the inventory {self.database} is older than this program: run `handclasp-pki upgrade`",
                path=self.database.path,
            )

    def migrate(self) -> bool:
        """Bring the schema up to the one that this program knows; whether there was anything to do.

        Other processes that try the same wait. Raises InventoryError for one of a newer program.
        """
        if self._known_version() == HEAD:
            return False
        # Alembic takes as long to import as a whole command may take: only for those who need it.
        from pki.inventory.migrate import upgrade

        with translated(self.database), self._engine.begin() as connection:
            upgrade(connection)
        return True

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed, and on the disk, when the block ends well; else as if it had never been."""
        with translated(self.database), self._engine.begin() as connection:
            yield Transaction(connection, self.database)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """The state of one moment, to read only; waits for no writer."""
        with (
            translated(self.database),
            databases.reading(self._engine.connect()) as connection,
            connection.begin(),
        ):
            yield Transaction(connection, self.database)

    def _known_version(self) -> str | None:
        version = self.version()
        if version is not None and version not in VERSIONS:
            raise InventoryError(
                f"the inventory {self.database} is of a newer Handclasp (its schema is {version!a}, this program "
                f"knows {HEAD}): update this program",
                path=self.database.path,
            )
        return version
