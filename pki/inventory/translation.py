"""What databases say, in our words: one line each, the cure in it, and never a password."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pki.errors import CorruptState, InventoryError, Locked, PKIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pki.inventory.database import Database

_LONGEST_REASON = 300
_UNTOUCHED = "nothing was changed"

# The beginnings of SQLite's names and of PostgreSQL's SQLSTATEs (its manual, appendix A), and what they mean to us.
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "XX001", "XX002")
_FULL = ("SQLITE_FULL", "53100")
_READ_ONLY = ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN", "SQLITE_AUTH", "25006", "42501")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40P01", "40001")
_IO = ("SQLITE_IOERR", "58030")


@contextlib.contextmanager
def translated(database: Database) -> Iterator[None]:
    """Raise InventoryError and its kin for whatever the database raises in the block."""
    try:
        yield
    except DBAPIError as error:
        raise _in_words(database, error.orig or error) from error
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise _in_words(database, error) from error


def _in_words(database: Database, error: BaseException) -> PKIError:
    code = str(getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or "")
    reason, path = _reason(database, error), database.path
    if code.startswith(_CORRUPT):
        cure = "restore it from a copy" if path else "restore it from a backup"
        return CorruptState(f"the inventory {database} is damaged ({reason}): {cure}; {_UNTOUCHED}", path=path)
    if code.startswith(_FULL):
        return InventoryError(f"the disk of the inventory {database} is full: make room; {_UNTOUCHED}", path=path)
    if code.startswith(_READ_ONLY):
        return InventoryError(
            f"the inventory {database} cannot be written ({reason}): see to its owner and permissions", path=path
        )
    if code.startswith(_BUSY):
        return Locked(f"another process is writing to the inventory {database}: try again", path=path)
    if code.startswith(_IO):
        return InventoryError(
            f"the disk of the inventory {database} fails ({reason}): see to the room on it; {_UNTOUCHED}", path=path
        )
    if path is None and not code and type(error).__name__ == "OperationalError":
        return InventoryError(f"the inventory {database} cannot be reached: {reason}")
    return InventoryError(f"the inventory {database} refuses: {reason}", path=path)


def _reason(database: Database, error: BaseException) -> str:
    """The driver's own words in one line, the password taken out should it be in them."""
    text = " ".join(str(error).split())
    for password in database.passwords:
        text = text.replace(password, "***")
    return text[:_LONGEST_REASON] or type(error).__name__
