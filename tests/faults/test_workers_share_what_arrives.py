"""Connections that come one by one do not all end up with one worker; and nobody waits for one that hangs."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil

from services.transport.accepting import Share, Shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Server


def held(server: Server) -> dict[int, int]:
    """How many connections each worker has open."""
    return {
        pid: sum(
            found.status == psutil.CONN_ESTABLISHED and found.laddr.port == server.port
            for found in psutil.Process(pid).net_connections("tcp")
        )
        for pid in server.workers()
    }


def test_each_worker_has_as_many(start: Callable[..., Server]) -> None:
    """Twelve connections, each opened while nobody is busy: about four each (a machine that is busy wakes one late)."""
    server = start("--workers", "3")
    with ExitStack() as stack:
        for _ in range(12):
            assert stack.enter_context(server.h2()).get().status == 200
        shares = held(server)
        assert sum(shares.values()) == 12
        assert len(shares) == 3
        assert min(shares.values()) >= 2, shares


def test_who_hangs_gets_none_and_delays_nobody(start: Callable[..., Server]) -> None:
    """A worker that has fewest connections, and whose event loop stands still: the other one takes them all."""
    server = start("--workers", "2")
    with ExitStack() as stack:
        stack.enter_context(server.h2()).get()
        idle = min(held(server).items(), key=lambda item: item[1])[0]
        os.kill(idle, signal.SIGSTOP)
        try:
            for _ in range(6):
                assert stack.enter_context(server.h2()).get().status == 200
            assert held(server)[idle] == 0
        finally:
            os.kill(idle, signal.SIGCONT)
        for _ in range(5):  # it wakes, and it is its turn
            assert stack.enter_context(server.h2()).get().status == 200
        assert held(server)[idle] >= 1


def test_a_worker_that_is_replaced_hands_its_share_on(start: Callable[..., Server]) -> None:
    """SIGUSR2 replaces both: their successors share as they did."""
    server = start("--workers", "2")
    before = len(server.log())
    assert server.port
    server.signal(signal.SIGUSR2)
    server.logged("worker replaced", before, times=2)
    with ExitStack() as stack:
        for _ in range(6):
            assert stack.enter_context(server.h2()).get().status == 200
        shares = sorted(held(server).values())[-2:]  # who was replaced may not have ended yet
        assert sum(shares) == 6
        assert min(shares) >= 2, shares


def test_who_has_more_than_another_stands_back() -> None:
    """The busiest one alone; and nobody for who is not there."""
    counts = [4, -1, 3, 9]
    assert [Share(counts, place).is_busiest for place in (0, 2, 3)] == [True, False, True]
    Share(counts, 2).leave()
    assert not Share(counts, 0).is_busiest
    Share(counts, 0).say(9)
    assert not Share(counts, 3).is_busiest


def test_each_worker_has_a_place_of_its_own() -> None:
    """And a successor one beside its predecessor, whose place is free once it is gone."""
    shares = Shares(2)
    first, second = shares.new(()), shares.new({0})
    assert {first.place, second.place} == {0, 1}
    first.say(7)
    second.say(0)
    third = shares.new({first.place, second.place})
    assert third.place not in {first.place, second.place}
    first.leave()
    assert shares.new({second.place, third.place}).place == first.place
    assert first.is_busiest is False
