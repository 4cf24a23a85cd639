"""The folders that service managers hand over: whose files are whose, and which key is nobody else's business."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.credential import load_folder
from pki.errors import PKIError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVICE = 65_532
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 1, 2, 4, 16, 32
_READ, _ENTER = 4, 5


@pytest.fixture
def folder(credentials: Path) -> Iterator[Path]:
    """A credential folder where another user may come to it."""
    if os.geteuid():
        pytest.skip("it takes root, to be another user")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as outer:
        Path(outer).chmod(0o755)
        made = Path(outer, "handclasp.service")
        made.mkdir(0o700)
        for file in (credentials / "localhost").iterdir():
            (made / file.name).touch(0o400)
            (made / file.name).write_bytes(file.read_bytes())
        yield made


def grant(path: Path, permission: int) -> None:
    """What systemd does: an access control list with a line for the service's user. The mode then shows its mask."""
    entries = (
        (_USER_OBJ, permission, -1), (_USER, permission, _SERVICE), (_GROUP_OBJ, 0, -1),
        (_MASK, permission, -1), (_OTHER, 0, -1),
    )  # fmt: skip
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"this file system has no access control lists: {error.strerror}")


def as_the_service(folder: Path) -> str:
    """What comes of loading the folder as its user, in a process of its own; empty where all is well."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setgid(_SERVICE)
            os.setuid(_SERVICE)
            load_folder(folder)
        except PKIError as error:
            os.write(theirs, str(error).encode())
        except BaseException as error:
            os.write(theirs, repr(error).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def test_systemd_with_access_control_lists(folder: Path) -> None:
    """Root's, 0400 and a line for the user: `ls` shows 0440, and nobody else can read it."""
    for file in folder.iterdir():
        grant(file, _READ)
    grant(folder, _ENTER)
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o440
    assert as_the_service(folder) == ""


def test_systemd_without_them(folder: Path) -> None:
    """The user's own, 0400, on a folder that is 0500."""
    for file in folder.iterdir():
        file.chmod(0o400)
        os.chown(file, _SERVICE, 0)
    os.chown(folder, _SERVICE, 0)
    folder.chmod(0o500)
    assert as_the_service(folder) == ""


def test_a_pod_with_an_fs_group(folder: Path) -> None:
    """Root's, 0440, and our group's."""
    for file in folder.iterdir():
        os.chown(file, 0, _SERVICE)
        file.chmod(0o440)
    os.chown(folder, 0, _SERVICE)
    folder.chmod(0o750)
    assert as_the_service(folder) == ""


def test_a_key_for_everybody_is_refused(folder: Path) -> None:
    """The rule is not loosened for any of them."""
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o755)
    assert "tls.key" in as_the_service(folder)
