"""Many new folders of the layout of `pki.folder`, fast: one sync for all of them instead of a dozen for each.

A folder comes to life with its last link, `..data`: before that, nothing in it can be opened by its name. A process
that is killed leaves at most one without. A machine that loses power before `sync` may leave some that are torn.

Making inodes is what takes the time, so what is the same in every folder, the links and the trust bundle, is made once
and then given more names. Neither is ever changed, only replaced.
"""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

from pki.files import PRIVATE_FOLDER, PUBLIC_FILE, sync_file_system
from pki.folder import DATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pki.folder import Content

# A file system allows 65,000 names of one inode at least (ext4); new ones are made long before.
_NAMES_OF_ONE = 10_000


class NewFolders:
    """Folders to come, on one file system. For one writer at a time: hold a lock."""

    def __init__(self) -> None:
        # The version's name needs to be no other's in its own folder: one for all lets them share the link to it.
        self._version = f"..{secrets.token_hex(8)}"
        self._parents: set[str] = set()
        self._like: str | None = None
        self._files: dict[str, Content] = {}
        self._left = 0
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def add(self, folder: str, files: Mapping[str, Content]) -> None:
        """Make a folder that holds these files, from one instant to the next. Not yet on the disk: `sync`.

        Raises FileExistsError where there is something, OSError.
        """
        parent = os.path.dirname(folder)  # noqa: PTH120 -- texts throughout: a Path for each takes a tenth of the time
        if parent not in self._parents:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103
            self._parents.add(parent)
        self._make_folder(folder)
        try:
            self._make_folder(f"{folder}/{self._version}")
            for name, content in files.items():
                self._write(folder, name, content)
                self._link(f"{DATA}/{name}", folder, name)
            self._link(self._version, folder, DATA)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._left -= 1
        if self._left < 0:
            self._like, self._files, self._left = folder, dict(files), _NAMES_OF_ONE

    def sync(self) -> None:
        """See all of them onto the disk. Raises OSError where the disk says no."""
        for parent in self._parents:
            sync_file_system(parent)

    def _make_folder(self, path: str) -> None:
        os.mkdir(path, PRIVATE_FOLDER)  # noqa: PTH102
        if PRIVATE_FOLDER & self._umask:
            os.chmod(path, PRIVATE_FOLDER)  # noqa: PTH101

    def _write(self, folder: str, name: str, content: Content) -> None:
        path = f"{folder}/{self._version}/{name}"
        if (
            content.mode == PUBLIC_FILE
            and self._files.get(name) == content
            and self._again(folder, f"{self._version}/{name}")
        ):
            return
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
        if not self._again(folder, name):
            os.symlink(target, f"{folder}/{name}")  # noqa: PTH211

    def _again(self, folder: str, name: str) -> bool:
        """Give what the folder before has under this name another name; False where that cannot be."""
        if self._like is None or self._left <= 0:
            return False
        try:
            os.link(f"{self._like}/{name}", f"{folder}/{name}", follow_symlinks=False)
        except OSError:
            # Not every file system can, and that folder may have been changed or removed.
            return False
        return True
