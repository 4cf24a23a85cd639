"""`kill -9` at fifty random instants of a bulk issue: nothing on disk that the inventory does not know."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pki.bulk import Line
from pki.credential import load_folder
from pki.facts import read_certificates
from pki.inventory.rows import serial_of
from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

KILLS, PEOPLE = 50, 2500

# Forks a child for each line: what is imported once takes most of the time.
DRIVER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from pki import bulk
from pki.issuing import Request
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.people import load_people
from pki.profiles import ClientProfile
from pki.state import State
import pki.opening

bulk.BATCH = 50
now = datetime.now(UTC)
lines = load_people(Path(sys.argv[2]), Request(ClientProfile(), Names("")), now=now)
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        Lifecycle(State(Path(sys.argv[1]), patience=0)).issue_many(lines, now=now)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def on_disk(folder: Path) -> set[str]:
    """Every certificate in whatever corner that is whole enough to be read."""
    found = set()
    for path in folder.rglob("tls.crt"):
        if not path.is_symlink() and path.read_bytes().endswith(b"END CERTIFICATE-----\n"):
            found.add(serial_of(read_certificates(path)[0]))
    return found


def test_fifty_kills(memory_path: Path) -> None:
    """After each, all that is on disk is known, and whole where it is published; the last run completes all names."""
    instants = random.Random(3)
    folder, people = memory_path / "state", memory_path / "people.csv"
    people.write_text("name,email\n" + "".join(f"p{number},p{number}@x.io\n" for number in range(PEOPLE)))
    lifecycle = Lifecycle(State(folder, patience=30))
    lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC))
    credentials = folder / "credentials"
    killed = 0
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, folder, people], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None

        def begin() -> int:
            print(file=driver.stdin, flush=True)
            return int(driver.stdout.readline())  # type: ignore[union-attr]

        for number in range(KILLS):
            pid = begin()
            time.sleep(instants.uniform(0.005, 0.12))
            subprocess.run(["kill", "-9", str(pid)], check=True)
            killed += int(driver.stdout.readline()) == -9
            if number % 10 == 9:
                with lifecycle.reading() as here, here.inventory.reading() as work:
                    assert on_disk(folder) <= {row.serial for row in work.certificates.all()}
        begin()
        assert driver.stdout.readline() == "0\n"
        driver.stdin.close()
    assert killed >= KILLS - 5
    entries = [entry for entry in lifecycle.entries(now=datetime.now(UTC)) if entry.current]
    assert len(entries) == PEOPLE
    assert {entry.standing for entry in entries} == {"valid"}
    for entry in entries[::50]:
        assert entry.folder is not None
        assert load_folder(entry.folder)[0].leaf
    known = {entry.certificate.serial for entry in lifecycle.entries(now=datetime.now(UTC))}
    assert on_disk(folder) <= known
    assert {path.name for path in credentials.iterdir()} == {f"p{number}" for number in range(PEOPLE)}
    asked = [Line(2, Request(ClientProfile(), Names.parse("p0", emails=["p0@x.io"])))]
    assert lifecycle.issue_many(asked, now=datetime.now(UTC)).kept == 1
