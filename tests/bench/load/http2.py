"""HTTP/2: a fixed number of streams in flight a connection, by frames that were encoded once (RFC 9113).

Only the stream's number is patched into a request. Each header block of an answer is decoded by hpack, but a block that
was seen before means the same as long as the connection's dynamic table has not changed since (RFC 7541 section 2.3.2).
"""

from __future__ import annotations

import struct
from typing import ClassVar

from hpack import Decoder, HPACKError

from tests.bench.load.outcome import WrongAnswerError

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_NO_PUSH = b"\x00\x02" + (0).to_bytes(4, "big")
_SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
_ALL_CREDIT = (2**31 - 1 - 65_535).to_bytes(4, "big")
"""The whole window at once: small answers never use it up, so no WINDOW_UPDATE has to be sent again."""

# GET / by https: fields of the static table. What names the host and the load goes into the dynamic table with the
# first request and is one byte each from then on, as every usual client does it.
_METHOD_SCHEME_PATH = b"\x82\x87\x84"
_FIRST_BLOCK = _METHOD_SCHEME_PATH + b"\x41\x09localhost" + b"\x7a\x05bench"
_NEXT_BLOCK = _METHOD_SCHEME_PATH + b"\xbf\xbe"

_head = struct.Struct("!HBBBI")  # the length in two parts, type, flags, stream


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame (RFC 9113 section 4.1)."""
    return _head.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


_FIRST_REQUEST = frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, _FIRST_BLOCK)
_NEXT_REQUEST = frame(_HEADERS, _END_STREAM | _END_HEADERS, 0, _NEXT_BLOCK)
_NEXT_BEFORE, _NEXT_AFTER = _NEXT_REQUEST[:5], _NEXT_REQUEST[9:]


class HTTP2Conversation:
    """Asks for `/` on `streams` streams at once, and opens the next stream for each that ends."""

    alpn: ClassVar[bytes] = b"h2"

    __slots__ = ("_buffer", "_decoder", "_expected", "_good_blocks", "_next", "_open", "_streams", "answered", "refill")

    def __init__(self, expected: bytes, streams: int) -> None:
        self._expected = expected
        self._streams = streams
        self._buffer = b""
        self._decoder = Decoder()
        self._good_blocks: set[bytes] = set()
        self._open: dict[int, bytes | None] = {}  # the body so far; None before the headers
        self._next = 1
        self.answered = 0
        self.refill = True

    @property
    def in_flight(self) -> int:
        return len(self._open)

    def begin(self) -> bytes:
        return _PREFACE + frame(_SETTINGS, 0, 0, _NO_PUSH) + frame(_WINDOW_UPDATE, 0, 0, _ALL_CREDIT)

    def ask(self) -> bytes:
        return self._requests(self._streams)

    def _requests(self, count: int) -> bytes:
        requests = []
        for _ in range(count):
            number = self._next
            self._next += 2
            self._open[number] = None
            requests.append(_FIRST_REQUEST if number == 1 else _NEXT_BEFORE + number.to_bytes(4, "big") + _NEXT_AFTER)
        return b"".join(requests)

    def received(self, data: bytes) -> bytes:
        if self._buffer:
            data = self._buffer + data
        before = self.answered
        position, end = 0, len(data)
        control = b""
        while end - position >= 9:
            high, low, kind, flags, stream = _head.unpack_from(data, position)
            start = position + 9
            stop = start + (high << 8) + low
            if stop > end:
                break
            position = stop
            if kind == _DATA:
                self._data(stream, flags, data[start:stop])
            elif kind == _HEADERS:
                self._headers(stream, flags, data[start:stop])
            else:
                control += self._other(kind, flags, stream, data[start:stop])
        self._buffer = data[position:]
        ended = self.answered - before
        return control + self._requests(ended) if ended and self.refill else control

    def _headers(self, stream: int, flags: int, block: bytes) -> None:
        if self._open.get(stream, b"") is not None:
            raise WrongAnswerError(f"stream {stream}: headers that nobody waits for")
        if not flags & _END_HEADERS or flags & (_PADDED | _PRIORITY):
            raise WrongAnswerError(f"stream {stream}: headers in a form that this load does not read ({flags:#x})")
        if block not in self._good_blocks:
            self._decode(stream, block)
        self._open[stream] = b""
        if flags & _END_STREAM:
            self._end(stream)

    def _decode(self, stream: int, block: bytes) -> None:
        table = self._decoder.header_table.dynamic_entries
        newest, size = (table[0] if table else None), len(table)
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise WrongAnswerError(f"stream {stream}: {error!r}") from None
        if fields.get(b":status") != b"200":
            raise WrongAnswerError(f"stream {stream}: the status is {fields.get(b':status')!r}")
        if fields.get(b"content-length") != b"%d" % len(self._expected):
            raise WrongAnswerError(f"stream {stream}: the content-length is {fields.get(b'content-length')!r}")
        if len(table) != size or (table and table[0] is not newest):
            self._good_blocks.clear()  # this block has changed the table: it and those before mean something else now
        else:
            self._good_blocks.add(block)

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        body = self._open.get(stream)
        if body is None or flags & _PADDED:
            raise WrongAnswerError(f"stream {stream}: data that nobody waits for")
        self._open[stream] = body + payload
        if flags & _END_STREAM:
            self._end(stream)

    def _end(self, stream: int) -> None:
        body = self._open.pop(stream)
        if body != self._expected:
            raise WrongAnswerError(f"stream {stream}: the body is {(body or b'')[:80]!r}")
        self.answered += 1

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if kind == _SETTINGS:
            return b"" if flags & _ACK else _SETTINGS_ACK
        if kind == _PING:
            return b"" if flags & _ACK else frame(_PING, _ACK, 0, payload)
        if kind == _RESET:
            raise WrongAnswerError(f"stream {stream}: reset with code {int.from_bytes(payload, 'big')}")
        if kind == _GOAWAY:
            raise WrongAnswerError(f"GOAWAY with code {int.from_bytes(payload[4:8], 'big')}")
        if kind == _WINDOW_UPDATE:
            return b""
        raise WrongAnswerError(f"a frame of type {kind}")
