"""From a state folder to its inventory: which database it is, and what an older Handclasp left behind.

An inventory elsewhere is written down in `DIR/inventory.url`, without a password: a command that forgot
`--database` must not begin a second one in the folder.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.authority import BACKDATING
from pki.authority_files import load_authority_certificate, no_authority
from pki.errors import InventoryError
from pki.files import PRIVATE_FILE, replace
from pki.importing import FOLDER, import_records, read_records
from pki.inventory.database import Database
from pki.inventory.rows import TRUSTED, AuthorityRow, fingerprint
from pki.inventory.store import Inventory
from pki.open_state import OpenState, is_own
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pki.importing import Imported
    from pki.inventory.store import Transaction
    from pki.state import State

URL_FILE = "inventory.url"


@dataclass(frozen=True, slots=True)
class Opening:
    """The way from a state folder to its inventory. Everything that writes needs the folder's lock held."""

    state: State
    database: Database
    note: Callable[[str], None]

    @classmethod
    def of(cls, state: State, url: str | None, note: Callable[[str], None]) -> Opening:
        """The inventory of a state folder: its own file, or the one that `--database` names.

        Raises UsageError for no URL, InventoryError where the folder's inventory is another one than is asked for.
        """
        own = Database.in_folder(state.folder)
        if url is None:
            if elsewhere := _written_down(state):
                raise InventoryError(
                    f"the inventory of {state.folder} is in {elsewhere}: pass --database, or set HANDCLASP_DATABASE",
                    path=state.folder,
                )
            return cls(state, own, note)
        database = Database.parse(url)
        if not is_own(state, database) and own.exists():
            raise InventoryError(
                f"{state.folder} has an inventory of its own, {own}: leave --database out, since {database} does not "
                "know its certificates",
                path=own.path,
            )
        return cls(state, database, note)

    def is_behind(self) -> bool:
        """Whether there is no inventory in the folder yet, or records that it does not know.

        An inventory elsewhere is only made and added to by those who were told to: `init` and `upgrade`.
        """
        if not is_own(self.state, self.database):
            return False
        if os.path.lexists(self.state.folder / FOLDER):
            return True
        return not self.database.exists() and os.path.lexists(self.state.authority)

    @contextlib.contextmanager
    def open(self, *, to_write: bool = False) -> Iterator[Inventory]:
        """The inventory. Raises NotFound where there is no authority.

        Who opens it to write gets it with all in it that is in the folder.
        """
        if to_write and self.is_behind():
            with self.make() as made:
                yield made
            return
        if not self.database.exists():
            raise no_authority(self.state.folder)
        if not is_own(self.state, self.database) and os.path.lexists(self.state.folder / FOLDER):
            raise InventoryError(
                f"{self.state.folder / FOLDER} holds records that the inventory {self.database} does not know: run "
                "`handclasp-pki upgrade`",
                path=self.state.folder / FOLDER,
            )
        with Inventory.open(self.database) as inventory:
            if to_write and is_own(self.state, self.database) and OpenState(self.state, inventory).signing() is None:
                self._bring_up(inventory)
            yield inventory

    @contextlib.contextmanager
    def make(self) -> Iterator[Inventory]:
        """The inventory, made where there is none, with all in it that is in the folder.

        Raises InventoryError where there was one and it is lost.
        """
        self._refuse_a_second()
        self.database.clear()
        with Inventory.create(self.database) as inventory:
            self._write_down()
            imported = self._bring_up(inventory)
            if imported.names or imported.certificates:
                self.note(
                    f"took {imported.names} names and {imported.certificates} certificates of an older Handclasp into "
                    f"{self.database}"
                )
            yield inventory

    def upgrade(self) -> tuple[bool, Imported]:
        """Bring the inventory up to this program and to what is in the folder: whether tables changed, what came."""
        if not os.path.lexists(self.state.authority) and not (self.database.path and self.database.exists()):
            raise no_authority(self.state.folder)
        self._refuse_a_second()
        self.database.clear()
        was = self._version()
        with Inventory.create(self.database) as inventory:
            self._write_down()
            return inventory.version() != was, self._bring_up(inventory)

    def _refuse_a_second(self) -> None:
        """A new inventory would not know what was revoked, and the next list would take it back."""
        if not is_own(self.state, self.database) or self.database.exists():
            return
        with self.state.translated("read"):
            known = os.path.lexists(self.state.folder / FOLDER)  # an older Handclasp's records: there was none yet
            lost = not known and (self.state.lists() is not None or any(self.state.credentials()))
        if lost:
            raise InventoryError(
                f"the inventory {self.database} is missing or empty, and certificates were issued by it: restore it "
                "from a copy, or move the folder away and make another authority with `init`",
                path=self.database.path,
            )

    def _bring_up(self, inventory: Inventory) -> Imported:
        """Take what is in the folder into the inventory: its authority, and an older Handclasp's records.

        All in one transaction, and only then the records are put aside: interrupted at any instant, it can be run
        again. Raises CorruptState, which names a damaged record; nothing has changed then.
        """
        here = OpenState(self.state, inventory)
        records = read_records(self.state)
        with inventory.transaction() as work:
            adopt(here, work)
            imported = import_records(here, work, records)
        imported.put_aside(self.state)
        return imported

    def _version(self) -> str | None:
        if not self.database.exists():
            return None
        with Inventory(self.database) as inventory:
            return inventory.version()

    def _write_down(self) -> None:
        if not is_own(self.state, self.database) and _written_down(self.state) != str(self.database):
            with self.state.translated("written"):
                replace(self.state.folder / URL_FILE, f"{self.database}\n".encode(), PRIVATE_FILE)


def adopt(here: OpenState, work: Transaction) -> bool:
    """Make the authority in the folder the one that signs, where the inventory does not know it and none does.

    That is so after an older Handclasp, after an `init` that was killed, and where somebody put back a copy.
    """
    folder = here.state.authority
    if not os.path.lexists(folder) or any(here.is_here(row) for row in work.authorities.all(AuthorityState.ACTIVE)):
        return False
    certificate = load_authority_certificate(folder)
    if work.authorities.get(fingerprint(certificate)) is not None:
        return False
    retire_lost(here, work)
    made = certificate.not_valid_before_utc + BACKDATING
    work.authorities.add(
        AuthorityRow.of(certificate, folder=folder.name, state=AuthorityState.ACTIVE, activated_at=made)
    )
    return True


def retire_lost(here: OpenState, work: Transaction) -> None:
    """Trust no more those whose folder was taken away by hand. In a shared inventory they may be somebody else's."""
    if is_own(here.state, here.inventory.database):
        for row in work.authorities.all(*TRUSTED):
            if not here.is_here(row):
                work.authorities.set_state(row.sha256, AuthorityState.RETIRED)


def _written_down(state: State) -> str | None:
    with state.translated("read"):
        try:
            return (state.folder / URL_FILE).read_text().strip() or None
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            return "another database"
