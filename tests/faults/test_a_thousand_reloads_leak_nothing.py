"""However often trust changes, memory and file descriptors level off."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.trust import trusting

if TYPE_CHECKING:
    from pathlib import Path


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
