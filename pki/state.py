"""The state folder: what is where, and the lock against a second writer.

DIR/.lock                        held while something is written; names the holder's process
DIR/authority/{ca.crt,ca.key}    pki.authority_files: appears as a whole
DIR/issued/NAME.json             pki.records
DIR/credentials/NAME/            pki.credential, unless --out chose another place
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.authority_files import no_authority
from pki.errors import CorruptState, Locked, StateError
from pki.files import PRIVATE_FILE, make_folder, replace
from pki.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        """Where the authority's certificate and key are."""
        return self.folder / "authority"

    def create(self) -> None:
        """Make the folder, for its owner alone, where there is none."""
        with self._translated("made"):
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
        with self._translated("written"):
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

    def names(self) -> list[str]:
        """The names that were issued, sorted."""
        with self._translated("read"):
            try:
                files = list(self._records.iterdir())
            except FileNotFoundError:
                return []
        # A hidden one is what a writer was about to put in place.
        return sorted(file.stem for file in files if file.suffix == ".json" and not file.name.startswith("."))

    def record(self, name: str) -> Record | None:
        """What is remembered of a name; None where nothing is. Raises CorruptState."""
        path = self.record_file(name)
        with self._translated("read"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            record = Record.parse(data)
        except CorruptState as error:
            raise CorruptState(f"{path}: {error}; remove it and issue {name} again", path=path) from error
        if record.names.name != name:
            raise CorruptState(
                f"{path} is the record of {record.names.name}, not of {name}: give it its name back", path=path
            )
        return record

    def save_record(self, record: Record) -> None:
        """Remember a name: after this returns, its certificate may leave."""
        path = self.record_file(record.names.name)
        with self._translated("written"):
            with contextlib.suppress(FileExistsError):
                make_folder(self._records)
            replace(path, record.to_json(), PRIVATE_FILE)

    def remove_record(self, name: str) -> None:
        """Forget a name whose certificate never left."""
        with self._translated("written"):
            self.record_file(name).unlink()

    def default_folder(self, name: str) -> str:
        """Where the credential of this name goes, relative to the state folder."""
        return f"credentials/{name}"

    def written_down(self, folder: Path) -> str:
        """A folder as a record holds it: relative inside of the state folder, which may be moved; else absolute."""
        absolute = os.path.abspath(folder)  # noqa: PTH100 -- `..` taken out, links left in: Path knows one of them
        inside = os.path.relpath(absolute, self.folder)
        return absolute if inside.startswith(os.pardir) else inside

    def credential_folder(self, record: Record) -> Path:
        """Where the credential of a record is."""
        return self.folder / record.folder

    def record_file(self, name: str) -> Path:
        """Where the record of a name is."""
        return self._records / f"{name}.json"

    @property
    def _records(self) -> Path:
        return self.folder / "issued"

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + self.patience
        with self._translated("locked"):
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
    def _translated(self, verb: str) -> Iterator[None]:
        """OSErrors in words; the seam between the disk and the rest."""
        try:
            yield
        except OSError as error:
            where = error.filename or self.folder
            raise StateError(
                f"the state folder {self.folder} cannot be {verb} ({where}: {error.strerror}): "
                "see to its owner, its permissions and the room on its disk",
                path=self.folder,
            ) from error
