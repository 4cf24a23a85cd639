"""Bytes on disk: written so that a reader, or a `kill -9` at any instant, finds the old file or the new one.

Everything here raises OSError as it is; callers say what the file was for. Only `read_private` judges: a
private key's permissions are checked on the open file, before the first byte is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING

from pki.errors import CredentialError, InsecurePermissions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
PRIVATE_FOLDER = 0o700


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Create a file with exactly this mode, whatever the umask, and see it onto the disk.

    Raises FileExistsError where there is one, or a symbolic link, already: O_EXCL follows none. Leaves no part of
    a file behind.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put a file in the place of another, or of none, by one rename. For one writer at a time: hold a lock."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # of a writer that was killed here
    try:
        write_new(beside, data, mode)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A private folder beside `path` to fill; it becomes `path` by one rename when the block ends well.

    Makes the parents where they are missing, and waits for another writer of the same parent. Raises
    FileExistsError where there is something at `path`; what a killed writer left beside it is removed.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask: others do not write there
    with holding(path.parent):
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        prefix = f".{path.name}."
        for leftover in list(path.parent.iterdir()):
            if leftover.name.startswith(prefix) and leftover.name.endswith(".new") and leftover.is_dir():
                shutil.rmtree(leftover)
        beside = path.with_name(f"{prefix}{secrets.token_hex(8)}.new")
        make_folder(beside)
        try:
            yield beside
            beside.rename(path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a private folder, whatever the umask. Raises FileExistsError."""
    path.mkdir(mode=PRIVATE_FOLDER)
    path.chmod(PRIVATE_FOLDER)


def sync_folder(path: Path) -> None:
    """See a folder's entries onto the disk: a rename is not, until this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str) -> None:
    """See everything on the file system of this path onto the disk."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:  # not Linux
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder against other writers that ask for it by this function; waits for them.

    The lock is the kernel's, on the folder itself: it leaves no file behind and ends with the process.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A network file system may know no such lock; the state folder's own lock file is held all the same.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """The bytes of a private key that nobody else can read; see `is_private` for the rule.

    Raises InsecurePermissions with the command that mends it, CredentialError for what is no plain file, OSError.
    """
    # O_NONBLOCK: a named pipe in the key's place is refused below instead of waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status, us = os.fstat(descriptor), os.geteuid()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise CredentialError(f"the private key {path} is not a plain file", path=path)
        if not is_private(mode, owner=status.st_uid, us=us):
            mounted = os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            who, cure = f"can be read by others (mode {mode:04o})", f"mend it with `chmod 600 {path}`"
            if us not in (0, status.st_uid):
                who = f"belongs to uid {status.st_uid} (mode {mode:04o})"
                cure = f"its owner has to be uid {us}, or root with mode 0640: see `chown`"
            elif mounted:
                cure = "set `defaultMode: 0400` (0440 with an fsGroup) on the mounted volume"
            raise InsecurePermissions(f"the private key {path} {who}: {cure}", path=path, mode=mode)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def is_private(mode: int, *, owner: int, us: int) -> bool:
    """Whether a key of these permissions and this owner is safe to use for us (user ids).

    The rule is PostgreSQL's: our own file, or any where we are root, has no permission for group or others. A file
    of root's that we read as somebody else may be readable by our group, as a Kubernetes secret with an fsGroup is.
    """
    if us in (0, owner):
        return not mode & 0o077
    return owner == 0 and not mode & 0o037
