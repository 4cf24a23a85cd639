"""Many new folders of the layout of `pki.folder`, fast: one sync for all of them instead of a dozen for each.

A process that is killed leaves whole folders and hidden ones, as there; a machine that loses power before `sync`
may leave folders that are torn. Making inodes is what takes the time, so those that are the same in every folder, the
links, are made once and linked; a link of that kind is never changed, only replaced.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from pki.files import PRIVATE_FOLDER
from pki.folder import DATA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pki.folder import Content

_NEW = ".new"
# A file system allows 65,000 names of one inode at least (ext4); new ones are made long before.
_NAMES_OF_ONE = 10_000


class NewFolders:
    """Folders to come, on one file system. For one writer at a time: hold a lock."""

    def __init__(self) -> None:
        # The version's name needs to be no other's in its own folder: one for all lets them share the link to it.
        self._version = f"..{secrets.token_hex(8)}"
        self._parents: set[Path] = set()
        self._like: str | None = None
        self._left = 0
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def add(self, folder: Path, files: Mapping[str, Content]) -> None:
        """Make a folder that holds these files, by one rename. Not yet on the disk: `sync`.

        Raises FileExistsError where there is something, OSError.
        """
        if folder.parent not in self._parents:
            self._prepare(folder.parent)
        if os.path.lexists(folder):
            raise FileExistsError(str(folder))
        beside = f"{folder.parent}/.{folder.name}.{secrets.token_hex(8)}{_NEW}"
        try:
            self._make_folder(beside)
            self._make_folder(f"{beside}/{self._version}")
            for name, content in files.items():
                self._write(f"{beside}/{self._version}/{name}", content)
            links = {name: f"{DATA}/{name}" for name in files} | {DATA: self._version}
            for name, target in links.items():
                self._link(target, beside, name)
            os.rename(beside, folder)  # noqa: PTH104 -- texts: a Path a file is a tenth of the time
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        self._left -= 1
        if self._left < 0:
            self._like, self._left = str(folder), _NAMES_OF_ONE

    def sync(self) -> None:
        """See all of them onto the disk."""
        os.sync()

    def _prepare(self, parent: Path) -> None:
        """Make the parent, and remove from it what a killed writer left: once, since looking takes long."""
        parent.mkdir(parents=True, exist_ok=True)
        with os.scandir(parent) as entries:
            leftovers = [entry.path for entry in entries if entry.name.startswith(".") and entry.name.endswith(_NEW)]
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        self._parents.add(parent)

    def _make_folder(self, path: str) -> None:
        os.mkdir(path, PRIVATE_FOLDER)  # noqa: PTH102
        if PRIVATE_FOLDER & self._umask:
            os.chmod(path, PRIVATE_FOLDER)  # noqa: PTH101

    def _write(self, path: str, content: Content) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, content.mode)
        try:
            left = memoryview(content.data)
            while left:
                left = left[os.write(descriptor, left) :]
            if content.mode & self._umask:
                os.fchmod(descriptor, content.mode)
        finally:
            os.close(descriptor)

    def _link(self, target: str, folder: str, name: str) -> None:
        """A symbolic link; where a folder before has the same, another name of that one."""
        if self._like is not None and self._left > 0:
            # Not every file system can, and that folder may have been changed or removed: then by itself.
            with contextlib.suppress(OSError):
                os.link(f"{self._like}/{name}", f"{folder}/{name}", follow_symlinks=False)
                return
        os.symlink(target, f"{folder}/{name}")  # noqa: PTH211
