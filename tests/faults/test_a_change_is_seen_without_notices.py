"""Where the system gives no notice of changes (no inotify left, a network file system), looking often has to do."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.server import ROOT, eventually
from tests.support.trust import Client, Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_NOTICES = """
import watchfiles

def awatch(*_, **__):
    raise OSError(24, "inotify instances are used up")

watchfiles.awatch = awatch
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("deaf")
    (folder / "path").mkdir()
    (folder / "path/sitecustomize.py").write_text(NO_NOTICES)
    with trusting(folder, PYTHONPATH=f"{folder / 'path'}:{ROOT}") as made:
        yield made


def presented(client: Client) -> bytes:
    with client.h1() as line:
        assert line.get().status == 200
        return line.sock.getpeercert(binary_form=True) or b""


def test_a_file_that_is_renamed_over(there: Trusting) -> None:
    ann = there.client("ann")
    with ann.h2() as wire:
        assert wire.get().status == 200
        there.revoke(ann)
        wire.ending(2)


def test_a_file_that_is_written_in_place(there: Trusting) -> None:
    """The same inode, as `cp` does it."""
    ben = there.client("ben")
    there.revoke()
    eventually(lambda: ben.refusal() == "let in")
    data = there.issuer.revocation_list(ben.serial, number=1_000)
    (there.credential / "ca.crl").write_bytes(data)
    eventually(lambda: "revoked" in ben.refusal().lower(), 2)


def test_a_version_that_is_swapped(there: Trusting) -> None:
    """As Kubernetes does it: `..data`, a link, is renamed over."""
    cal = there.client("cal")
    plain = [entry for entry in there.credential.iterdir() if entry.is_file() and not entry.is_symlink()]
    for number in (1, 2):
        version = there.credential / f"..2026_11_25_{number}"
        version.mkdir()
        for entry in plain:
            shutil.copy(entry, version / entry.name)
        if number == 2:
            there.issue_server().save(there.folder / "next")
            for name in ("tls.crt", "tls.key"):
                shutil.copy(there.folder / "next" / name, version / name)
        link = there.credential / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(there.credential / "..data")
        if number == 1:
            for entry in plain:
                beside = there.credential / ".link"
                beside.symlink_to(f"..data/{entry.name}")
                beside.replace(entry)
            before = presented(cal)
    eventually(lambda: presented(cal) != before, 3)
