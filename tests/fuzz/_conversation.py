"""One connection of a client that says the wrong things, and what the server owes it: an answer or an end, soon."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpack import Decoder, HPACKError

from tests.support.wire import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
    WINDOW_UPDATE,
    connect,
    raw,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

BOUND = 5.0
"""Seconds within which a connection has its answer, or its end."""

UNREAD = 65_536
"""Octets behind a request that is not answered yet, from which a server over HTTP/1.1 reads no more."""

_QUIET = 0.01
"""Seconds of silence that are waited for where nothing is owed."""

_PROBE = b"answer?!"


class Broken(AssertionError):
    """The server broke its promise on this conversation."""


@dataclass(frozen=True, slots=True, repr=False)
class Conversation:
    """What the client says, piece by piece, and how it goes. `sound`: the first request is whole and in order."""

    alpn: str
    pieces: tuple[bytes, ...]
    end: str
    sound: bool = False

    @property
    def said(self) -> bytes:
        return b"".join(self.pieces)

    def __repr__(self) -> str:
        return f"<{len(self.said)} octets of {self.alpn}>"

    def __str__(self) -> str:
        return f"Conversation({self.alpn!r}, {self.pieces!r}, {self.end!r}, {self.sound!r})"

    def shorter(self) -> Iterator[Conversation]:
        """The same with less, largest cut first: pieces, and octets of pieces."""
        size = len(self.pieces) // 2
        while size:
            for at in range(0, len(self.pieces), size):
                yield replace(self, pieces=self.pieces[:at] + self.pieces[at + size :])
            size //= 2
        for number, piece in enumerate(self.pieces):
            size = len(piece) // 2
            while size:
                for at in range(0, len(piece), size):
                    less = piece[:at] + piece[at + size :]
                    yield replace(self, pieces=(*self.pieces[:number], less, *self.pieces[number + 1 :]))
                size //= 2


class _Line:
    """A socket that is read whenever it is written."""

    def __init__(self, server: Server, alpn: str) -> None:
        self.tls = connect(server.port, server.context(alpn))
        self.tls.setblocking(False)
        self.tcp = socket.socket(fileno=os.dup(self.tls.fileno()))
        self.got = bytearray()
        self.ended = False

    def close(self) -> None:
        self.tls.close()
        self.tcp.close()

    def take(self) -> None:
        """Take what has come."""
        try:
            while True:
                some = self.tls.recv(65_536)
                if not some:
                    self.ended = True
                    return
                self.got += some
        except ssl.SSLWantReadError:
            pass
        except OSError:
            self.ended = True

    def say(self, piece: bytes) -> None:
        """Send it all, or find that the server has ended. Raises Broken where neither comes to pass."""
        until = time.monotonic() + BOUND
        view = memoryview(piece)
        while view and not self.ended:
            try:
                view = view[self.tls.send(view) :]
            except ssl.SSLWantWriteError:
                if time.monotonic() > until:
                    raise Broken("the server reads no more") from None
                select.select([self.tcp], [self.tcp], [], 0.1)
            except OSError:
                self.ended = True
            self.take()

    def wait(self, seconds: float) -> None:
        """Take what comes within so many seconds, if it is but one byte."""
        if not self.ended and select.select([self.tcp], [], [], max(seconds, 0))[0]:
            self.take()


def converse(server: Server, conversation: Conversation) -> None:
    """Say all of it; raise Broken unless the server answers or ends, and ends when the client does."""
    line = _Line(server, conversation.alpn)
    try:
        for piece in conversation.pieces:
            line.say(piece)
            line.wait(0)
        if conversation.alpn == "h2":
            _owed_by_h2(line, conversation)
        else:
            _owed_by_http1(line, conversation)
        _part(line, conversation)
    except OSError as error:
        raise Broken(f"{error!r}") from error
    finally:
        line.close()


def _owed_by_h2(line: _Line, conversation: Conversation) -> None:
    if _between_frames(conversation.said):
        line.say(raw(PING, 0, 0, _PROBE))
        answer, until = raw(PING, ACK, 0, _PROBE), time.monotonic() + BOUND
        while not line.ended and answer not in line.got:
            if time.monotonic() > until:
                raise Broken("PING is not answered, and the connection does not end")
            line.wait(BOUND)
    else:
        line.wait(_QUIET)
    _look_through(bytes(line.got))


def _owed_by_http1(line: _Line, conversation: Conversation) -> None:
    until = time.monotonic() + BOUND
    while conversation.sound and not line.ended and not line.got:
        if time.monotonic() > until:
            raise Broken("a sound request is not answered, and the connection does not end")
        line.wait(BOUND)
    before = -1
    while not line.ended and len(line.got) > before and time.monotonic() < until:
        before = len(line.got)
        line.wait(_QUIET)
    if line.got and not line.got.startswith((b"HTTP/1.1 ", b"HTTP/1.1"[: len(line.got)])):
        raise Broken(f"no response: {bytes(line.got[:80])!r}")


def _part(line: _Line, conversation: Conversation) -> None:
    """Go; the server has to go, too."""
    how = conversation.end
    if conversation.alpn == "http/1.1" and len(conversation.said) >= UNREAD:
        how = "vanish"  # an orderly end waits behind what is not read, perhaps in our own kernel: a reset does not
    if how == "vanish":
        line.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return
    if how == "goodbye":
        with suppress(OSError):
            line.tls.unwrap()
    else:
        with suppress(OSError):
            line.tcp.shutdown(socket.SHUT_WR)
    until = time.monotonic() + BOUND
    line.tcp.setblocking(False)
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([line.tcp], [], [], left)[0]:
            raise Broken(f"the client has gone ({how}), and the connection does not end")
        try:
            if not line.tcp.recv(65_536):
                return
        except ConnectionError:
            return


def _frames(got: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames at the beginning: type, flags, stream, payload."""
    at = 0
    while len(got) >= at + 9:
        size = int.from_bytes(got[at : at + 3], "big")
        if len(got) < at + 9 + size:
            return
        yield got[at + 3], got[at + 4], int.from_bytes(got[at + 5 : at + 9], "big"), got[at + 9 : at + 9 + size]
        at += 9 + size


def _between_frames(said: bytes) -> bool:
    """Whether what the client has said ends where a frame does, so that a PING behind it is a PING."""
    if not said.startswith(PREFACE):
        return True  # refused
    rest, size, in_block = said[len(PREFACE) :], 0, False
    for kind, flags, _, payload in _frames(rest):
        size += 9 + len(payload)
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            in_block = not flags & END_HEADERS
    return size == len(rest) and not in_block


def _look_through(got: bytes) -> None:
    """What the server says is in order: its frames, and the fields in them."""
    decoder = Decoder(2**20)
    decoder.max_allowed_table_size = 2**32
    first = True
    for kind, flags, stream, payload in _frames(got):
        if first and (kind != SETTINGS or flags & ACK):
            raise Broken("the server does not begin with SETTINGS")
        first = False
        of_the_connection, of_either = kind in (PING, GOAWAY, SETTINGS), kind == WINDOW_UPDATE
        if kind > CONTINUATION or kind == PUSH_PROMISE or (of_the_connection == bool(stream) and not of_either):
            raise Broken(f"a frame of type {kind} on stream {stream} from the server")
        if kind == HEADERS:
            if not flags & END_HEADERS:
                return
            try:
                decoder.decode(payload, raw=True)
            except HPACKError as error:
                raise Broken(f"the server's field block cannot be decoded: {error!r}") from error
