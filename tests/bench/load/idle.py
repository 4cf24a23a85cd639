"""Connections that have each answered one request and then do nothing: what a server's memory is weighed by."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from tests.bench.load.http2 import HTTP2Conversation
from tests.bench.load.outcome import Outcome, WrongAnswerError
from tests.bench.load.tls import PATIENCE, Wire

if TYPE_CHECKING:
    from OpenSSL import SSL


class Idle:
    """Opens HTTP/2 connections one after the other, and can ask each of them again whether it is still there."""

    def __init__(self, context: SSL.Context, port: int, expected: bytes) -> None:
        self._context = context
        self._port = port
        self._expected = expected
        self._pairs: list[tuple[Wire, HTTP2Conversation]] = []

    def open(self, connections: int) -> None:
        """Connect, and have each connection answer one request. Raises WrongAnswerError where one does not."""
        for _ in range(connections):
            wire = Wire(self._context, self._port, HTTP2Conversation.alpn)
            wire.open()
            conversation = HTTP2Conversation(self._expected, 1)
            conversation.refill = False
            wire.send(conversation.begin() + conversation.ask())
            _await_answer(wire, conversation)
            self._pairs.append((wire, conversation))

    def ask_again(self) -> Outcome:
        """Raise WrongAnswerError where a connection does not answer any more."""
        for wire, conversation in self._pairs:
            wire.send(conversation.ask())
            _await_answer(wire, conversation)
        return Outcome(len(self._pairs), 1.0, 0.0, 0.0, tls=self._pairs[0][0].facts())

    def close(self) -> None:
        for wire, _ in self._pairs:
            wire.close()


def _await_answer(wire: Wire, conversation: HTTP2Conversation) -> None:
    while conversation.in_flight:
        if not select.select([wire], [], [], PATIENCE)[0]:
            raise WrongAnswerError(f"a request without an answer for {PATIENCE:g} s")
        reply = conversation.received(wire.receive())
        if reply:
            wire.send(reply)
