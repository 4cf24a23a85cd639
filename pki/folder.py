"""A folder of files that change together: the layout of Kubernetes' AtomicWriter.

    FOLDER/..3f9c0a6e51d2b784/{tls.crt,tls.key,ca.crt}   one version, never written again
    FOLDER/..data -> ..3f9c0a6e51d2b784                  replaced by one rename: the moment of change
    FOLDER/tls.crt -> ..data/tls.crt                     what others open; so for each file

A mounted Kubernetes secret looks the same, so one reader serves both. The version before stays, for a reader
that is between two of its files; older ones go.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

from pki.files import PRIVATE_FILE, holding, make_folder, new_folder, read_private, sync_folder, write_new

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATA = "..data"
# What we may remove. Kubernetes names its versions by a date, and they are not ours.
_VERSION = re.compile(r"\.\.[0-9a-f]{16}")


class Content(NamedTuple):
    """What a file holds, and its permissions."""

    data: bytes
    mode: int


def resolve(folder: Path, name: str, *, version: Path | None) -> Path:
    """Where a file of the folder is, given the version that `current_version` found for all of them.

    A plain file in the place of its link is taken as it is. Raises nothing: what is missing shows on opening.
    """
    return version / name if version is not None and _is_link(folder, name) else folder / name


def current_version(folder: Path) -> Path | None:
    """The folder of the version that is published now; None where the folder is a plain one."""
    try:
        return folder / (folder / DATA).readlink()
    except OSError:
        return None


def publish(folder: Path, files: Mapping[str, Content]) -> None:
    """Make these files the folder's next version; none of them is ever seen without the others.

    A folder that does not exist is built beside its place and renamed into it. Plain files of these names
    become the version before. Waits for another writer of the same folder. Raises OSError, and
    InsecurePermissions for a plain private key that others can read; the folder is then as it was.
    """
    if os.path.lexists(folder):
        with holding(folder):
            _advance(folder, files)
        return
    with new_folder(folder) as beside:
        _advance(beside, files)


def amend(folder: Path, files: Mapping[str, Content], others: Mapping[str, int]) -> bool:
    """Make these files, and the present ones of the `others` (name to mode), the folder's next version.

    False, and nothing written, where the files are these already. Waits and raises as `publish` does; FileNotFoundError
    where there is no such folder.
    """
    with holding(folder):
        version = current_version(folder)
        there = {name: resolve(folder, name, version=version) for name in (*files, *others)}
        if all(there[name].is_file() and there[name].read_bytes() == files[name].data for name in files):
            return False
        kept = {n: _read(there[n], mode) for n, mode in others.items() if n not in files and there[n].exists()}
        _advance(folder, kept | dict(files))
        return True


def _advance(folder: Path, files: Mapping[str, Content]) -> None:
    before = current_version(folder)
    paths = {name: resolve(folder, name, version=before) for name in files}
    if any(path.parent == folder and path.exists() for path in paths.values()):
        # Plain files. First their own bytes as a version, so that at no instant the new key is seen behind
        # the old certificate while one file after the other becomes a link.
        old = {name: _read(path, files[name].mode) for name, path in paths.items() if path.exists()}
        before = _write_version(folder, old)
        _point(folder / DATA, before.name)
    version = _write_version(folder, files)
    try:
        for name in files:
            if not _is_link(folder, name):
                _point(folder / name, f"{DATA}/{name}")
        _point(folder / DATA, version.name)
    except OSError:
        # Nothing wider: an interrupt may come when the new version is already the one in use.
        shutil.rmtree(version, ignore_errors=True)
        raise
    sync_folder(folder)
    for entry in list(folder.iterdir()):
        if _VERSION.fullmatch(entry.name) and entry not in (version, before):
            shutil.rmtree(entry)


def _write_version(folder: Path, files: Mapping[str, Content]) -> Path:
    version = folder / f"..{secrets.token_hex(8)}"
    make_folder(version)
    try:
        for name, content in files.items():
            write_new(version / name, content.data, content.mode)
        sync_folder(version)
    except BaseException:
        shutil.rmtree(version, ignore_errors=True)
        raise
    return version


def _point(link: Path, target: str) -> None:
    """Let a name point at the target from one instant to the next."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)  # of a writer that was killed here
    beside.symlink_to(target)
    beside.rename(link)


def _is_link(folder: Path, name: str) -> bool:
    try:
        return str((folder / name).readlink()) == f"{DATA}/{name}"
    except OSError:
        return False


def _read(path: Path, mode: int) -> Content:
    return Content(read_private(path) if mode == PRIVATE_FILE else path.read_bytes(), mode)
