"""Requests and answers on one connection, without I/O: bytes in, bytes out, every answer checked."""

from __future__ import annotations

from typing import ClassVar, Protocol


class Conversation(Protocol):
    """What a load asks of an HTTP version."""

    alpn: ClassVar[bytes]
    answered: int
    """Right answers so far."""
    refill: bool
    """Whether each answer is followed by another request."""

    def begin(self) -> bytes:
        """Return what a connection begins with, before any request."""

    def ask(self) -> bytes:
        """Return as many requests as are kept in flight. Called when none is."""

    def received(self, data: bytes) -> bytes:
        """Take bytes from the server; return what is to be sent next, perhaps nothing.

        Raises:
            WrongAnswerError: an answer is not the expected one.
        """

    @property
    def in_flight(self) -> int:
        """Requests without an answer yet."""
