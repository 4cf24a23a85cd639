"""The state folder: what is where, and the lock against a second writer.

DIR/.lock                        held while something is written; names the holder's process
DIR/inventory.db                 pki.inventory, unless --database chose another place: then DIR/inventory.url names it
DIR/authority/{ca.crt,ca.key}    pki.authority_files: appears as a whole; later ones are in authority-2, authority-3...
DIR/ca.crl                       pki.revocation: the revocation lists of all trusted authorities, once there are any
DIR/credentials/NAME/            pki.credential, unless --out chose another place
DIR/issued/NAME.json             pki.records: of a Handclasp that had no inventory; imported once
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING

from pki.authority_files import no_authority
from pki.errors import Locked, StateError, UsageError
from pki.files import PRIVATE_FILE, PUBLIC_FILE, make_folder, replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST_AUTHORITY = "authority"
_LOCK_POLL = 0.05


@dataclass(frozen=True, slots=True)
class State:
    """A state folder, there or not. `patience` is how many seconds to wait for another writer.

    Reading needs no lock, since every file is replaced by one rename. Raises StateError and its kin for everything
    that the folder does not allow.
    """

    folder: Path
    patience: float = 5.0

    @property
    def authority(self) -> Path:
        """Where the first authority's certificate and key are."""
        return self.folder / FIRST_AUTHORITY

    def create(self) -> None:
        """Make the folder, for its owner alone, where there is none."""
        with self.translated("made"):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                make_folder(self.folder)
        if not self.folder.is_dir():
            raise StateError(f"{self.folder} is a file, not a state folder: pass another --state", path=self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other writers: what is read in the block stays true until its end.

        The kernel holds the lock, so it ends with the process. Raises Locked, which names the other process, and
        NotFound where there is no state folder.
        """
        with self.translated("written"):
            try:
                descriptor = os.open(
                    self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
                )
            except FileNotFoundError as error:
                raise no_authority(self.folder) from error
        try:
            self._acquire(descriptor)
            yield
        finally:
            os.close(descriptor)

    def lists(self) -> bytes | None:
        """The revocation lists that were published last, PEM; None before the first."""
        with self.translated("read"):
            try:
                return self.lists_file.read_bytes()
            except FileNotFoundError:
                return None

    def save_lists(self, pem: bytes) -> None:
        """Publish the authorities' revocation lists here."""
        with self.translated("written"):
            replace(self.lists_file, pem, PUBLIC_FILE)

    @property
    def lists_file(self) -> Path:
        """Where the revocation lists are."""
        return self.folder / "ca.crl"

    def credentials(self) -> list[Path]:
        """The folders of credentials in here, whole or not."""
        with self.translated("read"):
            try:
                return sorted((self.folder / "credentials").iterdir())
            except FileNotFoundError:
                return []

    def default_folder(self, name: str) -> str:
        """Where the credential of this name goes, relative to the state folder."""
        return f"credentials/{name}"

    def written_down(self, folder: Path) -> str:
        """A folder as a record holds it: relative inside of the state folder, which may be moved; else absolute."""
        absolute = os.path.abspath(folder)  # noqa: PTH100 -- `..` taken out, links left in: Path knows one of them
        inside = os.path.relpath(absolute, self.folder)
        return absolute if inside.startswith(os.pardir) else inside

    def check_for_a_credential(self, folder: str) -> None:
        """Raise UsageError where a credential would lie among what a state folder holds itself, or below a file."""
        top, *below = PurePath(folder).parts or (os.curdir,)
        if top == os.curdir or (top == "credentials" and not below) or top.startswith((FIRST_AUTHORITY, ".")):
            raise UsageError(f"{self.path(folder)} is the state folder's own: choose another folder for the credential")
        for there in (self.path(folder), *self.path(folder).parents):
            if os.path.lexists(there):
                if not there.is_dir():
                    raise UsageError(f"{there} is no folder: choose another one for the credential")
                return

    def path(self, folder: str) -> Path:
        """Where a folder is that the inventory names: a credential's or an authority's."""
        return self.folder / folder

    def free_authority_folder(self) -> str:
        """The next of `authority`, `authority-2`, `authority-3`... that does not exist."""
        candidates = (FIRST_AUTHORITY if number == 1 else f"{FIRST_AUTHORITY}-{number}" for number in count(1))
        return next(name for name in candidates if not os.path.lexists(self.folder / name))

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + self.patience
        with self.translated("locked"):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise self._busy(descriptor) from error
                time.sleep(_LOCK_POLL)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def _busy(self, descriptor: int) -> Locked:
        holder = os.pread(descriptor, 20, 0).strip()
        pid = int(holder) if holder.isdigit() else None
        who = f"process {pid}" if pid else "another process"
        return Locked(
            f"{who} is writing to {self.folder}: wait for it to end, then try again", path=self.folder, pid=pid
        )

    @contextlib.contextmanager
    def translated(self, verb: str) -> Iterator[None]:
        """OSErrors in words; the seam between the disk and the rest. `verb` says what was tried: "read", "written"."""
        try:
            yield
        except OSError as error:
            where = error.filename or self.folder
            raise StateError(
                f"the state folder {self.folder} cannot be {verb} ({where}: {error.strerror}): "
                "see to its owner, its permissions and the room on its disk",
                path=self.folder,
            ) from error
