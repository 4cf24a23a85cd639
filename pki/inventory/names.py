"""The names: what each is, and its latest certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, text, update

from pki.errors import AlreadyExists, NotFound
from pki.inventory.encoding import insert_new, name_row, name_values
from pki.inventory.schema import certificates, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from pki.inventory.rows import NameRow

# SQLite takes 32,766 parameters in a statement, and older ones 999.
_AT_ONCE = 500


class NamesTable:
    """The table of names, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, *rows: NameRow) -> None:
        """All of them, or AlreadyExists, which names one that is there: perhaps another host was first."""
        if insert_new(self._connection, names, [name_values(row) for row in rows]) < len(rows):
            serials = {row.names.name: row.serial for row in rows}
            there = self.some(list(serials))
            taken = next((name for name, row in there.items() if row.serial != serials[name]), None)
            raise AlreadyExists(f"{taken or 'a name of these'} has been issued already: choose another NAME")

    def claim(self, name: str) -> bool:
        """Have others that claim it wait until this transaction ends; whether what was read before may be old by now.

        Who renews and who revokes claim the name first, so that one of them sees what the other has done. SQLite lets
        one write at a time anyway.
        """
        if self._connection.dialect.name != "postgresql":
            return False
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))")
        self._connection.execute(lock, {"name": name})
        return True

    def replace(self, *rows: NameRow) -> None:
        """These instead of what there is of their names. Raises NotFound where one is not there."""
        for row in rows:
            name = row.names.name
            changed = self._connection.execute(update(names).where(names.c.name == name).values(**name_values(row)))
            if not changed.rowcount:
                raise NotFound(f"{name!a} is not in the inventory any more")

    def get(self, name: str) -> NameRow | None:
        """What is remembered of a name; None where nothing is."""
        return self.some([name]).get(name)

    def some(self, wanted: Sequence[str]) -> dict[str, NameRow]:
        """What is remembered of those of them that are there."""
        found: dict[str, NameRow] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            query = select(names).where(names.c.name.in_(wanted[start : start + _AT_ONCE]))
            found |= {row.name: name_row(row) for row in self._connection.execute(query)}
        return found

    def all(self) -> list[NameRow]:
        """Every one, sorted. Sorted here, since databases have their own ideas of the alphabet."""
        rows = (name_row(row) for row in self._connection.execute(select(names)))
        return sorted(rows, key=lambda row: row.names.name)

    def known(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._connection.execute(select(names.c.name)).scalars())

    def remove(self, gone: Iterable[str]) -> None:
        """Forget these."""
        gone = list(gone)
        for start in range(0, len(gone), _AT_ONCE):
            self._connection.execute(delete(names).where(names.c.name.in_(gone[start : start + _AT_ONCE])))

    def remove_bare(self) -> int:
        """Forget those of which no certificate is known any more; how many they were."""
        some = select(certificates.c.serial).where(certificates.c.name == names.c.name)
        return self._connection.execute(delete(names).where(~some.exists())).rowcount
