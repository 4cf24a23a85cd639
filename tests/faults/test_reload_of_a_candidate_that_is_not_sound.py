"""Reload is all or nothing: a candidate that is not sound changes nothing, is said, and a sound one is taken next."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.issuer import Issuer
from tests.support.server import Server, eventually
from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOREIGN = Issuer("Foreign CA")
SAME_NAME = Issuer()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("candidates")) as made:
        made.put("ca.crl", made.issuer.revocation_list(number=1_000))
        yield made


CANDIDATES: dict[str, tuple[str, bytes | Callable[[Trusting], bytes], str]] = {
    "a broken key": ("tls.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
    "an empty bundle": ("ca.crt", b"", "trust bundle"),
    "garbage in the bundle": ("ca.crt", b"\0" * 100, "trust bundle"),
    "half a bundle": ("ca.crt", lambda t: t.issuer.certificate.public_bytes(Encoding.PEM)[:-40], "trust bundle"),
    "another authority's bundle and the list": (
        "ca.crt",
        lambda _: FOREIGN.certificate.public_bytes(Encoding.PEM),
        "signed by no authority",
    ),
    "a list of another issuer": ("ca.crl", lambda _: FOREIGN.revocation_list(number=2_000), "signed by no authority"),
    "a list under our name, not by our key": (
        "ca.crl",
        lambda _: SAME_NAME.revocation_list(number=2_000),
        "signed by no authority",
    ),
    "an expired list": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=2_000, signed=timedelta(hours=-2), stale=timedelta(hours=-1)),
        "is stale since",
    ),
    "a list from the future": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=2_000, signed=timedelta(hours=1), stale=timedelta(hours=2)),
        "from the future",
    ),
    "an older list than the one in force": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=3),
        "older than number",
    ),
    "half a list": ("ca.crl", lambda t: t.issuer.revocation_list(number=2_000)[:-60], "cut short"),
    "an empty list file": ("ca.crl", b"", "no revocation list"),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_candidate(there: Trusting, case: str) -> None:
    """It is refused with its reason, in the log and in the audit log; the server goes on, and takes the next."""
    name, data, reason = CANDIDATES[case]
    path = there.credential / name
    good = path.read_bytes()
    ivan = there.client("ivan")
    with ivan.h2() as open_before:
        assert open_before.get().status == 200
        after = there.server.log_end()
        there.put(name, data if isinstance(data, bytes) else data(there))
        line = there.server.logged("reload refused", after)[0]
        assert reason in line
        assert there.audited("reload.refused")[-1]["reason"]
        assert open_before.get().status == 200
        with ivan.h1() as opened_now:
            assert opened_now.get().status == 200
        there.put(name, good)
        there.server.signal(signal.SIGHUP)
        there.server.logged(" reloaded", after)
        assert open_before.get().status == 200


def test_a_list_that_is_taken_away(there: Trusting) -> None:
    """Who can remove `ca.crl` cannot undo a revocation by it."""
    judy = there.client("judy")
    after = there.server.log_end()
    there.put("ca.crl", there.issuer.revocation_list(judy.serial, number=1_001))
    there.taken_up(after)
    after = there.server.log_end()
    (there.credential / "ca.crl").unlink()
    assert "is gone" in there.server.logged("reload refused", after)[0]
    assert "revoked" in judy.refusal().lower()
    there.put("ca.crl", there.issuer.revocation_list(number=1_002))
    there.taken_up(after)


def test_the_folder_vanishes_and_comes_back(there: Trusting) -> None:
    """Renamed away and back, the server goes on serving; what changed meanwhile is taken up."""
    kate = there.client("kate")
    after = there.server.log_end()
    away = there.folder / "away"
    there.credential.rename(away)
    there.server.logged("reload refused", after)
    with kate.h1() as line:
        assert line.get().status == 200
    there.issue_server().save(there.folder / "new")
    shutil.copy(away / "ca.crl", there.folder / "new" / "ca.crl")
    (there.folder / "new").rename(there.credential)
    there.taken_up(after)
    with kate.h1() as line:
        assert line.get().status == 200


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("ca.crl", lambda _: FOREIGN.revocation_list(), "signed by no authority"),
        ("ca.crl", lambda issuer: issuer.revocation_list(stale=timedelta(seconds=-1), signed=timedelta(-1)), "stale"),
        ("ca.crt", lambda _: b"", "trust bundle"),
    ],
)
def test_at_the_start_it_is_an_error(tmp_path: Path, name: str, data: Callable[[Issuer], bytes], words: str) -> None:
    """What cannot be trusted is not served by: one line, exit 1."""
    there = Trusting.__new__(Trusting)
    there.issuer = Issuer()
    credential = there.issue_server().save(tmp_path / "localhost")
    (credential / name).write_bytes(data(there.issuer))
    server = Server(tmp_path, credential, credential)
    assert server.exit_code() == 1
    assert words in server.log()
    assert "Traceback" not in server.log()
    assert len(server.log().strip().splitlines()) == 1
    server.stop()


def test_a_required_list_that_is_missing_lets_nobody_in(tmp_path: Path) -> None:
    """`--crl require`: refused until there is one; then let in."""
    with trusting(tmp_path, "--crl", "require") as there:
        liam = there.client("liam")
        assert "unknown" in liam.refusal().lower()
        there.audited("handshake.refused")
        after = there.server.log_end()
        there.put("ca.crl", there.issuer.revocation_list())
        there.taken_up(after)
        assert liam.refusal() == "let in"


def test_a_list_that_becomes_stale_lets_nobody_in(tmp_path: Path) -> None:
    """Fail closed: refused and cut when its nextUpdate has passed; the log has warned, and says how to mend it."""
    with trusting(tmp_path) as there:
        mary = there.client("mary")
        there.put("ca.crl", there.issuer.revocation_list(number=1, stale=timedelta(seconds=4)))
        there.taken_up(0)
        with mary.h2() as wire:
            assert wire.get().status == 200
            assert "handclasp-pki crl" in there.server.logged("becomes stale", 0)[0]
            wire.ending()
        assert mary.refusal() != "let in"
        after = there.server.log_end()
        there.put("ca.crl", there.issuer.revocation_list(number=2))
        there.taken_up(after)
        assert mary.refusal() == "let in"


@pytest.mark.slow
def test_a_thousand_reloads_leak_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory and file descriptors level off, with a client on the line all the while."""
    with trusting(tmp_path) as there:
        nina = there.client("nina")
        process = psutil.Process(there.server.process.pid)
        pairs = [there.issue_server() for _ in range(2)]
        lists = [there.issuer.revocation_list(7, number=number) for number in range(1, 1_001)]

        def reload(times: range) -> None:
            for number in times:
                after = there.server.log_end()
                if number % 10 == 0:
                    there.put_pair(pairs[number // 10 % 2])
                there.put("ca.crl", lists[number])
                there.server.signal(signal.SIGHUP)
                there.taken_up(after)
                if number % 50 == 0:
                    with nina.h1() as line:
                        assert line.get().status == 200

        with nina.h2() as wire:
            reload(range(300))
            before = there.server.rss(), process.num_fds()
            started = time.monotonic()
            reload(range(300, 1_000))
            seconds = time.monotonic() - started
            behind = there.server.rss(), process.num_fds()
            assert wire.get().status == 200
        with capsys.disabled():
            print(f"\n700 reloads in {seconds:.0f} s: {before[0]:.1f} -> {behind[0]:.1f} MiB,", end=" ")
            print(f"{before[1]} -> {behind[1]} descriptors")
        assert behind[0] - before[0] < 8
        assert behind[1] - before[1] <= 4


def test_sighup_looks_at_once(there: Trusting) -> None:
    """SIGHUP loads though nothing has changed, and does not stop the server."""
    after = there.server.log_end()
    there.server.signal(signal.SIGHUP)
    there.server.logged(" reloaded", after)


def test_every_worker_follows(tmp_path: Path) -> None:
    """A revocation is in force in all workers within a second; SIGHUP reaches each of them."""
    with trusting(tmp_path, "--workers", "3") as there:
        oscar = there.client("oscar")
        with ExitStack() as stack:
            lines = [stack.enter_context(oscar.h2()) for _ in range(12)]
            assert {line.get().status for line in lines} == {200}
            revoked = there.revoke(oscar)
            for line in lines:
                line.ending()
        assert time.monotonic() - revoked < 1.5
        there.server.logged(" reloaded", 0, times=3)
        after = there.server.log_end()
        there.server.signal(signal.SIGHUP)
        there.server.logged(" reloaded", after, times=3)
        assert [oscar.refusal() != "let in" for _ in range(8)] == [True] * 8


def test_the_server_takes_a_list_up_in_a_quarter_of_a_second(
    there: Trusting, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the last write to the first handshake under the new trust: measured and printed."""
    delays = []
    for number in range(5):
        paul = there.client("paul")
        wrote = there.put("ca.crl", there.issuer.revocation_list(paul.serial, number=5_000 + number))
        eventually(lambda client=paul: client.refusal() != "let in", 3)
        delays.append(time.monotonic() - wrote)
    with capsys.disabled():
        print(f"\nwritten -> in force: {', '.join(f'{delay * 1000:.0f}' for delay in delays)} ms")
    assert sorted(delays)[2] < 1
