"""Connections that come one by one do not all end up with one worker; and nobody waits for one that hangs."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import psutil

from services.transport import accepting
from services.transport.accepting import Share, Shares

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.support.server import Server


def held(server: Server) -> dict[int, int]:
    """How many connections each worker has open."""
    found = {}
    for pid in server.workers():
        with suppress(psutil.NoSuchProcess):  # one that was replaced has ended meanwhile
            found[pid] = sum(
                one.status == psutil.CONN_ESTABLISHED and one.laddr.port == server.port
                for one in psutil.Process(pid).net_connections("tcp")
            )
    return found


def opened(server: Server, stack: ExitStack, workers: int, most: int = 40) -> list[int]:
    """Open connections one by one until so many workers have two of them; return how many each has.

    On a machine that is busy one may be woken late, and another one takes its turn: then there is a next one.
    """
    shares: list[int] = []
    for number in range(most):
        assert stack.enter_context(server.h2()).get().status == 200
        shares = sorted(held(server).values(), reverse=True)[:workers]
        if number >= 2 * workers and min(shares) >= 2:
            break
    return shares


def test_each_worker_has_some(start: Callable[..., Server]) -> None:
    """Connections that are opened while nobody is busy: the kernel alone would give them all to one of three."""
    server = start("--workers", "3")
    with ExitStack() as stack:
        assert min(opened(server, stack, 3)) >= 2


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
        assert min(opened(server, stack, 2)) >= 2  # it wakes, and it is its turn


def test_a_worker_that_is_replaced_hands_its_share_on(start: Callable[..., Server]) -> None:
    """SIGUSR2 replaces both: their successors share as they did."""
    server = start("--workers", "2")
    before = len(server.log())
    assert server.port
    server.signal(signal.SIGUSR2)
    server.logged("worker replaced", before, times=2)
    with ExitStack() as stack:
        assert min(opened(server, stack, 2)) >= 2


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


class Exhausted(socket.socket):
    """A socket that cannot be accepted on at first: a process without a descriptor left."""

    tried = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tried += 1
        if self.tried == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_who_has_no_descriptor_left_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not spin meanwhile, and the connection that waited is taken."""
    monkeypatch.setattr(accepting, "_RECOVERY", 0.2)

    async def run() -> tuple[int, float]:
        loop, made = asyncio.get_running_loop(), asyncio.Event()

        class Taken(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.set()
                transport.close()

        with Exhausted() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            acceptor = accepting.Acceptor(loop, [listening], Taken, Shares(1).new(()), lambda: 0)
            started = loop.time()
            with socket.create_connection(listening.getsockname()):
                await asyncio.wait_for(made.wait(), 10)
            took = loop.time() - started
            acceptor.close()
            await acceptor.settled()
            return listening.tried, took

    tried, took = asyncio.run(run())
    assert took >= 0.15
    assert tried <= 4
