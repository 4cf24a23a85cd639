"""Two hundred issuances from eight processes: every serial unique, every certificate recorded, on both databases."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pki.credential import load_folder
from pki.inventory.rows import serial_of
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.state import State

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PROCESSES, EACH = 8, 25
WANTED = EACH // 5
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

# One process imports, and forks as many as there shall be.
WORKERS = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
import pki.opening
from pki.errors import AlreadyExists
from pki.issuing import Request
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State

processes, each, database, *folders = sys.argv[1:]

def work(number):
    folder = Path(folders[number % len(folders)])
    lifecycle = Lifecycle(State(folder, patience=100), None, database or None, f"worker-{number}")
    now, taken, said = datetime(2026, 11, 23, 13, tzinfo=UTC), 0, []
    for one in range(int(each)):
        names = Names.parse(f"w{number}-{one}", emails=["a@x.io"])
        said.append(lifecycle.issue(Request(ClientProfile(), names), now=now).record.serial)
        if one % 5 == 0:  # and one that all of them want: the first one gets it
            try:
                lifecycle.issue(Request(ClientProfile(), Names.parse(f"wanted-{one}", emails=["a@x.io"])), now=now)
            except AlreadyExists:
                taken += 1
    sys.stdout.write("".join(f"{serial}\\n" for serial in said) + f"taken {taken}\\n")
    sys.stdout.flush()

children = []
for number in range(int(processes)):
    children.append(os.fork())
    if not children[-1]:
        try:
            work(number)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "postgresql, two hosts"])
def test_two_hundred_at_once(kind: str, memory_path: Path, request: pytest.FixtureRequest) -> None:
    """Each name goes to one of those who want it, and nothing is on disk or was announced and is unknown."""
    database = "" if kind == "sqlite" else str(request.getfixturevalue("postgresql_url"))
    folders = [memory_path / name for name in (("a", "b") if kind.endswith("hosts") else ("a",))]
    for folder in folders:
        Lifecycle(State(folder), None, database or None).init("CA", key=KeyType.P256, now=NOW)
    arguments = [str(PROCESSES), str(EACH), database, *map(str, folders)]
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    announced = [line for line in lines if not line.startswith("taken ")]
    assert len(announced) == len(set(announced)) == PROCESSES * EACH
    assert sum(int(line[6:]) for line in lines if line.startswith("taken ")) == (PROCESSES - 1) * WANTED
    lifecycle = Lifecycle(State(folders[0]), None, database or None)
    entries = lifecycle.entries(now=NOW)
    known = {entry.certificate.serial for entry in entries}
    assert set(announced) < known
    assert len(known) == len(entries) == PROCESSES * EACH + WANTED
    on_disk = {
        serial_of(load_folder(path)[0].leaf)
        for folder in folders
        for path in (folder / "credentials").iterdir()
        if not path.name.startswith(".")
    }
    assert on_disk == known
    assert {entry.certificate.requested_by for entry in entries} == {f"worker-{n}" for n in range(PROCESSES)}
