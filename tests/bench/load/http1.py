"""HTTP/1.1: one request in flight a connection, the head of each answer checked once a variant."""

from __future__ import annotations

import re
from typing import ClassVar

from tests.bench.load.outcome import WrongAnswerError

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_VARIANTS = 64


class HTTP1Conversation:
    """Asks for `/`, again and again."""

    alpn: ClassVar[bytes] = b"http/1.1"

    __slots__ = ("_buffer", "_expected", "_good_heads", "answered", "in_flight", "refill")

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._buffer = b""
        self._good_heads: set[bytes] = set()  # they differ by their Date alone: a new one a second
        self.answered = 0
        self.in_flight = 0
        self.refill = True

    def begin(self) -> bytes:
        return b""

    def ask(self) -> bytes:
        self.in_flight = 1
        return _REQUEST

    def received(self, data: bytes) -> bytes:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or len(data) < end + len(self._expected):
            if end >= 4:
                self._check_head(data[:end])
            self._buffer = data
            return b""
        self._check_head(data[:end])
        if data[end:] != self._expected or not self.in_flight:
            raise WrongAnswerError(f"the body is {data[end:][:80]!r}")
        self._buffer = b""
        self.answered += 1
        if self.refill:
            return _REQUEST
        self.in_flight = 0
        return b""

    def _check_head(self, head: bytes) -> None:
        if head in self._good_heads:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswerError(f"the answer begins {head[:40]!r}")
        length = _LENGTH.search(head)
        if length is None or int(length[1]) != len(self._expected):
            raise WrongAnswerError(f"the content-length is {None if length is None else length[1]!r}")
        if _CLOSES.search(head):
            raise WrongAnswerError("the server wants to close a connection that is kept open")
        if len(self._good_heads) >= _VARIANTS:
            self._good_heads.clear()
        self._good_heads.add(head)
