"""Whatever bytes a client sends behind its handshake: no crash, no hang, nothing unhandled, and nobody else feels
it.

`just fuzz` runs for two minutes, the ordinary tests for six seconds: HANDCLASP_FUZZ_SECONDS in all. Each round has
a seed of its own, which is printed when it fails: HANDCLASP_FUZZ_SEED=<it> begins there. A conversation that breaks
the promise is made as short as it gets within a while, and printed as bytes; `converse(server, Conversation(...))`
repeats it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import _http1, _http2
from tests.fuzz._conversation import Broken, Conversation, converse
from tests.support.server import eventually
from tests.support.sound import UNSOUND
from tests.support.wire import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

SECONDS = float(os.environ.get("HANDCLASP_FUZZ_SECONDS", "6"))
SEED = int(os.environ.get("HANDCLASP_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)

AT_ONCE = 4
"""Conversations that are held at the same time."""

ROUND = 50
"""Batches of conversations a seed."""

GROWTH = 24.0
"""MiB by which the server's memory may grow in the second half: what it once needed at most, its allocator keeps."""


class Bystander:
    """A sane client on a connection of its own: every request is answered, soon, while others talk nonsense."""

    def __init__(self, server: Server) -> None:
        self._server, self._stop = server, threading.Event()
        self.failure: BaseException | None = None
        self.answers, self.slowest = 0, 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            with self._server.h2() as wire:
                while not self._stop.wait(0.02):
                    started = time.monotonic()
                    assert wire.get("/", timeout=5).status == 200
                    self.answers += 1
                    self.slowest = max(self.slowest, time.monotonic() - started)
        except BaseException as failure:
            self.failure = failure

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class Campaign:
    """Many conversations with one server, and what must be true meanwhile."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.held = 0
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._log = server.log_end()
        self._process = psutil.Process(server.process.pid)

    def hold(self, batch: list[Conversation]) -> None:
        """Hold these conversations at once. Raises Broken."""
        results = [self._pool.submit(converse, self.server, conversation) for conversation in batch]
        faults = [
            f"{error}\n  {conversation}"
            for result, conversation in zip(results, batch, strict=True)
            if (error := result.exception()) is not None
        ]
        self.held += len(batch)
        if faults:
            raise Broken("\n".join(faults))
        self._sound()

    def _sound(self) -> None:
        if self.server.process.poll() is not None:
            raise Broken(f"the server is gone: {self.server.process.returncode}\n{self.server.log(self._log)}")
        end = self.server.log_end()
        if end > self._log:
            news, self._log = self.server.log(self._log), end
            if UNSOUND.search(news):
                raise Broken(f"in the log:\n{news}")

    def still(self, batch: list[Conversation], seconds: float) -> list[Conversation]:
        """The least that still breaks the promise, as far as it is found in so many seconds."""
        until = time.monotonic() + seconds

        def breaks(some: list[Conversation]) -> bool:
            try:
                self.hold(some)
                eventually(lambda: False, 0.05)  # the log may come a moment later
            except Broken:
                return True
            except AssertionError:
                pass
            try:
                self._sound()
            except Broken:
                return True
            return False

        if self.server.process.poll() is not None:
            return batch
        batch = next(([one] for one in batch if breaks([one])), batch)
        while len(batch) == 1 and time.monotonic() < until and self.server.process.poll() is None:
            less = next((one for one in batch[0].shorter() if time.monotonic() < until and breaks([one])), None)
            if less is None:
                break
            batch = [less]
        return batch

    def memory(self) -> float:
        return self._process.memory_info().rss / 2**20

    def descriptors(self) -> int:
        return self._process.num_fds()


@pytest.fixture
def campaign(fuzzed: Server) -> Iterator[Campaign]:
    """A campaign with a bystander. Behind it, what it has cost the server is given back."""
    campaign = Campaign(fuzzed)
    for alpn in ("h2", "h1"):
        with getattr(fuzzed, alpn)() as line:
            assert line.get().status == 200
    tasks, descriptors = fuzzed.stats()["tasks"], campaign.descriptors()
    bystander = Bystander(fuzzed)
    yield campaign
    bystander.stop()
    assert bystander.failure is None, f"the bystander failed: {bystander.failure!r}"
    assert bystander.answers
    assert bystander.slowest < 3.0, f"the bystander waited {bystander.slowest:.2f} s"
    for alpn in ("h2", "h1"):
        try:
            with getattr(fuzzed, alpn)() as line:
                assert line.get().status == 200
        except (OSError, Ended) as failure:
            pytest.fail(f"the server does not serve the next client: {failure!r}")
    eventually(lambda: fuzzed.stats()["tasks"] <= tasks + 1, 40, lambda: f"{tasks} tasks, not {fuzzed.stats()}")
    eventually(lambda: campaign.descriptors() <= descriptors + 1, 40, lambda: f"{descriptors} descriptors")
    print(f"  a bystander had {bystander.answers} answers, the slowest in {bystander.slowest * 1000:.0f} ms")


def _run(campaign: Campaign, what: str, conversations: st.SearchStrategy[Conversation], seconds: float) -> None:
    started = time.monotonic()
    until, settled, memory = started + seconds, started + seconds / 2, [campaign.memory()]
    number = SEED

    broken: list[str] = []

    def one_round(number: int) -> None:
        @seed(number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(conversations, min_size=AT_ONCE, max_size=AT_ONCE))
        def hold(batch: list[Conversation]) -> None:
            if broken or time.monotonic() > until:
                return
            try:
                campaign.hold(batch)
            except Broken as error:  # kept back: Hypothesis would run it again and print all of it
                least = campaign.still(batch, min(seconds, 60))
                broken.append(f"{error}\n\nthe least that breaks it:\n  " + "\n  ".join(map(str, least)))

        hold()

    try:
        while time.monotonic() < until and not broken:
            one_round(number)
            number += not broken
            if time.monotonic() > settled:
                memory.append(campaign.memory())
    finally:
        print(
            f"\n{what}: {campaign.held} conversations in {time.monotonic() - started:.0f} s, seeds {SEED} to {number};"
            f" memory {memory[0]:.0f} MiB, then {min(memory[1:] or memory):.0f} to {max(memory):.0f} MiB"
        )
    assert not broken, broken[0]
    assert max(memory[1:] or memory) - memory[1:2][0] < GROWTH, f"memory grows: {memory}"


@pytest.mark.timeout(SECONDS + 240)
def test_http2_frames(campaign: Campaign) -> None:
    """HTTP/2 with wrong lengths, types, flags, streams, payloads and order, in pieces of any size: an answer or an
    end.
    """
    _run(campaign, "HTTP/2", _http2.conversations(), SECONDS / 2)


@pytest.mark.timeout(SECONDS + 240)
def test_http1_bytes(campaign: Campaign) -> None:
    """HTTP/1.1 and WebSockets with wrong heads, bodies, chunks and frames, in pieces of any size: an answer or an
    end.
    """
    _run(campaign, "HTTP/1.1", _http1.conversations(), SECONDS / 2)
