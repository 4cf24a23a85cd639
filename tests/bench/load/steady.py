"""Requests a second over connections that stay open: a closed loop, as many in flight as the conversations keep."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

from tests.bench.load.outcome import WrongAnswerError
from tests.bench.load.tls import PATIENCE, Wire
from tests.bench.load.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from OpenSSL import SSL

    from tests.bench.load.conversation import Conversation
    from tests.bench.load.outcome import Outcome


class Steady:
    """Connections to one server, each with its conversation."""

    def __init__(self, context: SSL.Context, port: int, conversations: Sequence[Conversation]) -> None:
        """Connect them all, one after the other. Raises WrongAnswerError where one is refused."""
        self._selector = selectors.DefaultSelector()
        self._pairs: list[tuple[Wire, Conversation]] = []
        for conversation in conversations:
            wire = Wire(context, port, conversation.alpn)
            wire.open()
            wire.send(conversation.begin())
            self._pairs.append((wire, conversation))
            self._selector.register(wire, selectors.EVENT_READ, (wire, conversation))

    @property
    def facts(self) -> str:
        return self._pairs[0][0].facts()

    @property
    def answered(self) -> int:
        return sum(conversation.answered for _, conversation in self._pairs)

    def measure(self, server_pid: int, warm_up: float, seconds: float) -> Outcome:
        """Load the server for `warm_up` seconds, then count for `seconds`, then let what is in flight end.

        The connections stay open, for the next time.

        Raises:
            WrongAnswerError: an answer was not the expected one, or did not come.
        """
        for wire, conversation in self._pairs:
            conversation.refill = True
            wire.send(conversation.ask())
        self._run(warm_up)
        window = Window(server_pid, self.answered)
        self._run(seconds)
        outcome = window.close(self.answered, self.facts)
        self._settle()
        return outcome

    def _settle(self) -> None:
        """Ask for nothing more and wait for what is in flight. Raises WrongAnswerError where it does not come."""
        for _, conversation in self._pairs:
            conversation.refill = False
        last, progress = self.answered, time.perf_counter()
        while any(conversation.in_flight for _, conversation in self._pairs):
            self._turn(0.1)
            if self.answered > last:
                last, progress = self.answered, time.perf_counter()
            elif time.perf_counter() - progress > PATIENCE:
                missing = sum(conversation.in_flight for _, conversation in self._pairs)
                raise WrongAnswerError(f"{missing} requests without an answer for {PATIENCE:g} s")

    def close(self) -> None:
        for wire, _ in self._pairs:
            wire.close()

    def _run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._turn(left)

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            wire, conversation = key.data
            data = wire.receive()
            if data:
                reply = conversation.received(data)
                if reply:
                    wire.send(reply)
