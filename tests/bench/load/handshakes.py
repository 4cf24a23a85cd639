"""New connections a second: a full handshake, one request over HTTP/1.1, its answer, goodbye; several at once."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

from tests.bench.load.http1 import HTTP1Conversation
from tests.bench.load.outcome import WrongAnswerError
from tests.bench.load.tls import PATIENCE, Wire
from tests.bench.load.window import Window

if TYPE_CHECKING:
    from OpenSSL import SSL

    from tests.bench.load.outcome import Outcome


class Handshakes:
    """Keeps `concurrent` connections under way."""

    def __init__(self, context: SSL.Context, port: int, expected: bytes, concurrent: int) -> None:
        self._context = context
        self._port = port
        self._expected = expected
        self._concurrent = concurrent
        self._selector = selectors.DefaultSelector()
        self._refill = True
        self._progress = 0.0
        self.facts = ""
        self.done = 0

    def measure(self, server_pid: int, warm_up: float, seconds: float) -> Outcome:
        """Connect for `warm_up` seconds, then count for `seconds`, then let what is under way end.

        Raises:
            WrongAnswerError: a handshake failed, or an answer was not the expected one or did not come.
        """
        self._refill = True
        self._progress = time.perf_counter()
        for _ in range(self._concurrent):
            self._start()
        self._run(warm_up)
        window = Window(server_pid, self.done)
        self._run(seconds)
        outcome = window.close(self.done, self.facts)
        self._refill = False
        while self._selector.get_map():
            self._turn(0.1)
        return outcome

    def _start(self) -> None:
        wire = Wire(self._context, self._port, HTTP1Conversation.alpn)
        self._selector.register(wire, selectors.EVENT_WRITE, (wire, None))

    def _run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._turn(min(left, 0.1))

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            wire, conversation = key.data
            if conversation is None:
                self._shake_hands(wire, key.events)
            else:
                self._listen(wire, conversation)
        if time.perf_counter() - self._progress > PATIENCE:
            raise WrongAnswerError(f"{len(self._selector.get_map())} connections without an answer for {PATIENCE:g} s")

    def _shake_hands(self, wire: Wire, events: int) -> None:
        if wire.handshake():
            conversation = HTTP1Conversation(self._expected)
            conversation.refill = False
            wire.send(conversation.ask())
            self._selector.modify(wire, selectors.EVENT_READ, (wire, conversation))
        elif events == selectors.EVENT_WRITE:  # connected: from here on the server's turn
            self._selector.modify(wire, selectors.EVENT_READ, (wire, None))

    def _listen(self, wire: Wire, conversation: HTTP1Conversation) -> None:
        data = wire.receive()
        if data:
            conversation.received(data)
        if not conversation.in_flight:
            self.facts = self.facts or wire.facts()
            self._selector.unregister(wire)
            wire.close()
            self.done += 1
            self._progress = time.perf_counter()
            if self._refill:
                self._start()
