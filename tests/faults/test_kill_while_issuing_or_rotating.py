"""`kill -9` while the authority is made, a name issued, or a credential rotated: the old state or the new, never half.

Twice: by real commands, killed at random instants; and by a process that kills itself before the n-th change that it
makes to the disk, for every n until it gets through.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pki.credential import Credential, load_folder
from pki.errors import AlreadyExists, NotFound
from pki.facts import read_certificates
from pki.keys import KeyType
from pki.lifecycle import Lifecycle, Request
from pki.names import Names
from pki.profiles import ClientProfile
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pki.listing import Entry

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("handclasp-pki")
ALICE = Request(ClientProfile(), Names.parse("alice", emails=["alice@example.com"]))

# Forks a child for each line of its input. The child does what the line says, on one folder, and kills itself before
# its n-th change. Forking spares the imports, which would take most of the time.
DRIVER = """
import json, os, signal, sys
from pki.cli import main
CHANGES = {"os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}

def child(arguments, state, last):
    left = last
    def hook(event, details):
        nonlocal left
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or (writes and str(details[0]).startswith(state)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    return main(arguments)

sys.stdout, answer = open(os.devnull, "w"), sys.stdout
main(["list"])
for line in sys.stdin:
    arguments, state, last = json.loads(line)
    pid = os.fork()
    if not pid:
        os._exit(child(arguments, state, last))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answer, flush=True)
"""


@pytest.fixture(scope="module")
def killed_at() -> Iterator[Callable[[list[str], Path, int], bool]]:
    """Run a command on a state folder and kill it before its n-th change; False when it ended before that."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None

        def call(arguments: list[str], state: Path, change: int) -> bool:
            print(json.dumps([arguments, str(state), change]), file=driver.stdin, flush=True)
            code = int(driver.stdout.readline())
            assert code in (0, -signal.SIGKILL), code
            return code != 0

        yield call
        driver.stdin.close()


def lifecycle_in(folder: Path) -> Lifecycle:
    return Lifecycle(State(folder, patience=0))


def made(folder: Path, *requests: Request) -> Lifecycle:
    lifecycle = lifecycle_in(folder)
    lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC))
    for request in requests:
        lifecycle.issue(request, now=datetime.now(UTC))
    return lifecycle


def current(lifecycle: Lifecycle, now: datetime) -> list[Entry]:
    """A name each, as it stands in its folder."""
    return [entry for entry in lifecycle.entries(now=now) if entry.current]


def check_all_recorded(lifecycle: Lifecycle) -> None:
    """No certificate is on the disk, in whatever corner, that the inventory does not know."""
    known = {entry.certificate.serial for entry in lifecycle.entries(now=datetime.now(UTC))}
    for path in lifecycle.state.folder.rglob("tls.crt"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_symlink() or not path.read_bytes().endswith(b"END CERTIFICATE-----\n"):
                continue
        assert format(read_certificates(path)[0].serial_number, "x") in known


def check_tidy(folder: Path) -> None:
    """Nothing half-made is left once a later command has gone through: two versions at most, no file to come."""
    assert not [path for path in folder.rglob("*") if path.name.endswith(".new")]
    for links in folder.rglob("..data"):
        versions = [path for path in links.parent.iterdir() if path.name.startswith("..") and path != links]
        assert len(versions) <= 2


def each_change(run: Callable[[int], bool]) -> int:
    """Call with 1, 2, 3... until it is not killed any more; how many changes there were."""
    change = 1
    while run(change):
        change += 1
        assert change < 200
    return change - 1


def test_killed_before_any_change_of_init(killed_at: Callable[..., bool], memory_path: Path) -> None:
    """No authority or a sound one; the next init makes it, or finds it."""

    def run(change: int) -> bool:
        folder = memory_path / str(change)
        killed = killed_at(["init", "--state", str(folder)], folder, change)
        lifecycle = lifecycle_in(folder)
        try:
            lifecycle.entries(now=datetime.now(UTC))
            expected = "kept"
        except NotFound:
            expected = "issued"
        _, action = lifecycle.init("CA", key=KeyType.P256, now=datetime.now(UTC), ensure=True)
        assert action == expected
        lifecycle.issue(ALICE, now=datetime.now(UTC))
        check_tidy(folder)
        return killed

    assert each_change(run) >= 7


@pytest.mark.parametrize("out", [None, "empty", "existing"])
def test_killed_before_any_change_of_issue(out: str | None, killed_at: Callable[..., bool], memory_path: Path) -> None:
    """The name is free, or recorded and without a credential, or whole; issuing it again completes it."""
    made(memory_path / "made")

    def run(change: int) -> bool:
        folder = memory_path / str(change)
        shutil.copytree(memory_path / "made", folder, symlinks=True)
        arguments = ["issue", "client", "alice", "--email", "alice@example.com", "--state", str(folder)]
        request = ALICE
        if out is not None:
            request = Request(ALICE.profile, ALICE.names, out=folder / out)
            arguments += ["--out", str(folder / out)]
            if out == "existing":
                (folder / out).mkdir()
        killed = killed_at(arguments, folder, change)
        lifecycle, now = lifecycle_in(folder), datetime.now(UTC)
        check_all_recorded(lifecycle)
        standings = [entry.standing for entry in current(lifecycle, now)]
        assert standings in ([], ["missing"], ["valid"])
        if standings == ["valid"]:
            with pytest.raises(AlreadyExists):
                lifecycle.issue(request, now=now)
        else:
            assert lifecycle.issue(request, now=now).action == "issued"
        (entry,) = current(lifecycle, now)
        assert entry.standing == "valid"
        assert load_folder(entry.folder)
        lifecycle.rotate(None, now=now)
        check_tidy(folder)
        return killed

    assert each_change(run) >= 15


@pytest.mark.parametrize("layout", ["versions", "plain files"])
def test_killed_before_any_change_of_rotate(layout: str, killed_at: Callable[..., bool], memory_path: Path) -> None:
    """The old pair or the new one, whole and known; the next rotation goes through and tidies up."""
    source = made(memory_path / "made", ALICE)
    source.rotate(None, now=datetime.now(UTC))
    credential = source.state.folder / "credentials" / "alice"
    if layout == "plain files":
        shutil.copytree(credential, memory_path / "plain", symlinks=False, ignore=shutil.ignore_patterns("..*"))
        shutil.rmtree(credential)
        (memory_path / "plain").rename(credential)
    old = Credential.load(credential)
    new = 0

    def run(change: int) -> bool:
        nonlocal new
        folder = memory_path / str(change)
        shutil.copytree(memory_path / "made", folder, symlinks=True)
        killed = killed_at(["rotate", "alice", "--state", str(folder)], folder, change)
        lifecycle, now = lifecycle_in(folder), datetime.now(UTC)
        check_all_recorded(lifecycle)
        found, trust = load_folder(folder / "credentials" / "alice")
        new += found != old
        assert found != old or found.key_pem() == old.key_pem()
        assert len(trust) == 1
        (entry,) = current(lifecycle, now)
        assert entry.standing == "valid"
        assert lifecycle.rotate(["alice"], now=now)
        check_tidy(folder)
        return killed

    changes = each_change(run)
    assert changes >= 12
    assert 1 <= new < changes


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_instant(seed: int, memory_path: Path) -> None:
    """Real commands, issue and rotate in turn, each killed within the time that one takes; then all is sound."""
    instants = random.Random(seed)
    folder = memory_path / "state"
    lifecycle = made(folder)

    def command(*arguments: str, seconds: float | None) -> None:
        with subprocess.Popen(
            [COMMAND, "--state", folder, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=seconds)
            process.kill()
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()

    started = time.monotonic()
    command("issue", "client", "alice", "--email", "alice@example.com", seconds=None)
    whole = time.monotonic() - started
    for number in range(3):
        # Most of a command is its start; what it writes is in the last part.
        command("rotate", "--all", seconds=whole * instants.uniform(0.6, 1.1))
        command("issue", "client", f"c{number}", "--email", "c@x.io", seconds=whole * instants.uniform(0.6, 1.1))
        now = datetime.now(UTC)
        assert load_folder(folder / "credentials" / "alice")
        assert {entry.standing for entry in lifecycle.entries(now=now)} <= {"valid", "missing"}
        check_all_recorded(lifecycle)
    lifecycle.rotate(None, now=datetime.now(UTC))
    assert {entry.standing for entry in lifecycle.entries(now=datetime.now(UTC))} == {"valid"}
