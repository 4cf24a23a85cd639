"""Bytes <-> TLS <-> HTTP: one object a connection, on asyncio's plain transport.

The handshake runs in memory (pyOpenSSL), under the context of the Snapshot that was current when the connection was
accepted. Once it is done the peer is made, once, and the plaintext goes to the protocol that ALPN chose.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog
from OpenSSL import SSL

from services.transport.context import Judgement, NoCommonProtocolError, reason_of
from services.transport.extension import tls_extension
from services.transport.handshake import endpoint, log_refusal, peer_of
from services.transport.http1 import HTTP1
from services.transport.http2 import HTTP2

if TYPE_CHECKING:
    from services.peer import Peer
    from services.transport.handshake import Address
    from services.transport.listener import Listener
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.transport")

_RECORD = 16_384
"""The most plaintext that one TLS record holds (RFC 8446 section 5.1)."""

_LINGER = 2.0
"""Seconds that a closed connection goes on reading, to throw away: closing a socket with unread input makes the kernel
send a reset, and the reset overtakes the alert or the response that was sent last."""

_LAST_HANDSHAKE = 2.0
"""Seconds that a handshake under way has left when the process is stopping."""

_STALL = 30.0
"""Seconds without a byte taken by a peer that we have closed on and still owe bytes, before it is cut off."""

_PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 45\r\n\r\n"
    b"This port speaks TLS: ask for https, not http"
)


_JUDGED = Judgement()
"""In the place of a connection's own, once it has served."""


class HTTPProtocol(Protocol):
    """What a connection asks of the HTTP version that runs on it. No method blocks, none raises."""

    def received(self, data: bytes) -> None:
        """Take plaintext from the peer."""

    def writable(self) -> None:
        """The peer has taken what was owed to it: send on."""

    def shut_down(self) -> None:
        """Lose no request, begin no more than those on their way, then close the connection."""

    def finish(self) -> None:
        """There is no more time: say what was seen, and end."""

    def lost(self) -> None:
        """The connection is gone: tell the applications."""


class _State(Enum):
    HANDSHAKE = auto()
    OPEN = auto()
    CLOSING = auto()  # what we had to say is said; input is thrown away
    CLOSED = auto()


class Connection(asyncio.Protocol):
    """One client's connection, from the first byte of its ClientHello to the last of ours."""

    __slots__ = (
        "_drained",
        "_http",
        "_idle_since",
        "_judgement",
        "_listener",
        "_progress",
        "_snapshot",
        "_state",
        "_timer",
        "_tls",
        "_transport",
        "extension",
        "peer",
        "writing_paused",
    )

    peer: Peer
    """The verified caller; set when the handshake is done, before any byte reaches a protocol."""
    extension: dict[str, Any]
    """The ASGI TLS extension of this connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._state = _State.HANDSHAKE
        self._judgement = Judgement()
        self._http: HTTPProtocol | None = None
        self._drained: deque[asyncio.Future[None]] = deque()
        self._idle_since: float | None = None
        self._progress = 0, 0.0
        self.writing_paused = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._listener.connections.add(self)
        self._snapshot: Snapshot = self._listener.source.snapshot
        self._tls = SSL.Connection(self._snapshot.context)
        self._tls.set_accept_state()
        self._tls.set_app_data(self._judgement)
        self._timer = self._listener.loop.call_later(
            self._listener.config.ssl_handshake_timeout, self._handshake_timed_out
        )

    def data_received(self, data: bytes) -> None:
        if self._state is _State.HANDSHAKE:
            self._tls.bio_write(data)
            if self._handshake():
                self._read()
        elif self._state is _State.OPEN:
            self._tls.bio_write(data)
            self._read()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._release()
        if self._http is not None and self._state is _State.OPEN:
            self._http.writable()

    def eof_received(self) -> bool:
        if self._state is not _State.OPEN:
            return False  # asyncio closes the transport
        self._peer_ended()
        if not self.unsent:
            return False
        self._linger()
        return True  # we close it: asyncio would wait without end for a peer that takes nothing

    def connection_lost(self, _: Exception | None) -> None:
        was = self._state
        self._state = _State.CLOSED
        self._timer.cancel()
        self._listener.remove(self)
        self._release()
        if was is _State.HANDSHAKE:
            self._refused("the client closed the connection during the handshake")
        if self._http is not None:
            self._http.lost()
            self._http = None
        del self._tls  # the context's callbacks hold on to it: free OpenSSL's memory now, not when cycles are collected

    # What the protocols call.

    def send(self, data: bytes) -> None:
        """Send plaintext. It leaves the process as few TLS records as it fits in; nothing is kept back."""
        if not self.is_open:
            return
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            self._broken(error)
            return
        self._flush(len(data))

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was sent, or is gone."""
        if self.writing_paused and self.is_open:
            waiter = self._listener.loop.create_future()
            self._drained.append(waiter)
            await waiter

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process for the peer to take them."""
        return self._transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Whether what is sent can still reach the peer. A transport may know that it cannot, and not yet have said."""
        return self._state is _State.OPEN and not self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the peer until `resume_reading`: back-pressure, down to its TCP window."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def set_idle(self, idle: bool) -> None:
        """Tell whether a request is being answered; idle connections end after `keep_alive_timeout` seconds."""
        self._idle_since = self._listener.loop.time() if idle else None

    def close(self) -> None:
        """Say goodbye (close_notify), let what was sent reach the peer, then close."""
        if self._state is not _State.OPEN:
            return
        with suppress(SSL.Error):  # after a fatal error there is nobody to say goodbye to
            self._tls.shutdown()
        self._flush()
        self._linger()

    def cut_short(self) -> None:
        """Let what was sent reach the peer, then close without a close_notify: something is missing behind it."""
        if self._state is _State.OPEN:
            self._linger()

    def abort(self) -> None:
        """End the connection at once, whatever is on its way."""
        self._transport.abort()

    # What the worker calls.

    def shut_down(self) -> None:
        """End the connection without losing a request (RFC 9113 section 6.8, RFC 9112 section 9.6)."""
        if self._state is _State.HANDSHAKE:
            # A request may already be on its way behind the handshake: it is served. Who is silent is not waited for.
            self._timer.cancel()
            self._timer = self._listener.loop.call_later(_LAST_HANDSHAKE, self._handshake_timed_out)
        elif self._state is _State.OPEN and self._http is not None:
            self._http.shut_down()

    def finish(self) -> None:
        """The time to end has run out: say so to the peer, then end at once, whatever is on its way."""
        if self._state is _State.OPEN and self._http is not None:
            self._http.finish()
        self.abort()

    # The handshake.

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        except NoCommonProtocolError as error:
            self._flush()
            self._refused(str(error))
            self._linger()
            return False
        except Exception as error:  # noqa: BLE001 - whatever a stranger's certificate does to a parser: refused
            reason = self._judgement.reason or reason_of(error)
            if reason in ("http request", "https proxy request"):
                self._transport.write(_PLAIN_HTTP_ANSWER)
                reason = "plain HTTP on a TLS port"
            else:
                self._flush()  # the alert that names the reason: asyncio's own TLS never sends it
            self._refused(reason)
            self._linger()
            return False
        self._flush()
        self._timer.cancel()
        identity = self._judgement.identity
        chain = self._tls.get_verified_chain(as_cryptography=True)
        if identity is None or not chain:  # OpenSSL was content, the callback was not asked: nobody was verified
            self._refused("no certificate was verified")
            self._linger()
            return False
        self._open(peer_of(self._tls, identity, chain, self._address, self._snapshot.generation))
        return True

    def _open(self, peer: Peer) -> None:
        self.peer = peer
        self.extension = tls_extension(peer, self._snapshot.server_cert)
        self._judgement = _JUDGED
        self._tls.set_app_data(None)  # a second verification on this connection would fail: there is none (RFC 8740)
        self._state = _State.OPEN
        self._transport.set_write_buffer_limits(high=4 * _RECORD)
        loop = self._listener.loop
        self._idle_since = loop.time()
        self._timer = loop.call_later(self._listener.config.keep_alive_timeout, self._check_idle)
        protocol = HTTP2 if peer.alpn == "h2" else HTTP1
        self._http = protocol(self, self._listener, endpoint(self._transport, "sockname"))
        if self._listener.draining:
            self._http.shut_down()

    def _refused(self, reason: str) -> None:
        log_refusal(reason, self._address, self._judgement.certificate)

    @property
    def _address(self) -> Address:
        return endpoint(self._transport, "peername")

    def _handshake_timed_out(self) -> None:
        if self._state is _State.HANDSHAKE:
            self._refused(f"no handshake within {self._listener.config.ssl_handshake_timeout:g} s")
            self._state = _State.CLOSING
            self.abort()

    # Reading, writing, ending.

    def _read(self) -> None:
        chunks = []
        end: SSL.Error | None = None
        receive = self._tls.recv
        try:
            while True:
                chunks.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            end = error
        if not chunks:
            self._flush()  # what OpenSSL itself answers: an alert to a renegotiation, a KeyUpdate
        elif self._http is not None:
            self._http.received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if end is not None and self._state is _State.OPEN:
            if isinstance(end, SSL.ZeroReturnError):
                self._peer_ended()
                self.close()
            else:
                self._broken(end)

    def _flush(self, plaintext: int = 0) -> None:
        """Hand OpenSSL's output to the transport, until there is none: one read a flush stalls large responses."""
        size = plaintext + 64 * (1 + plaintext // _RECORD) + 1024
        while True:
            try:
                data = self._tls.bio_read(size)
            except SSL.WantReadError:
                return
            self._transport.write(data)
            if len(data) < size:
                return

    def _broken(self, error: SSL.Error) -> None:
        """The TLS stream is corrupt or was cut short: nothing more can be said on it but OpenSSL's alert."""
        if not isinstance(error, SSL.SysCallError):
            log.info("connection broken", reason=reason_of(error), identity=self.peer.identity.name)
        self._peer_ended()
        self._flush()
        self._linger()

    def _peer_ended(self) -> None:
        """The peer says no more: the applications hear of it now, not when the last of our bytes is gone."""
        if self._http is not None:
            http, self._http = self._http, None
            http.lost()

    def _linger(self) -> None:
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSING
        self._timer.cancel()
        self._release()
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            with suppress(OSError):  # asyncio's own loop shuts the socket down at once, and the peer may have reset it
                self._transport.write_eof()
        self._progress = self.unsent, self._listener.loop.time()
        self._timer = self._listener.loop.call_later(_LINGER, self._end_linger)

    def _release(self) -> None:
        """Let go who waits in `drain`."""
        while self._drained:
            waiter = self._drained.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _end_linger(self) -> None:
        unsent, now = self.unsent, self._listener.loop.time()
        before, since = self._progress
        if unsent < before:  # a slow reader, not a dead one
            self._progress = unsent, now
        elif unsent == 0 or now - since >= _STALL:
            self._transport.abort()
            return
        self._timer = self._listener.loop.call_later(_LINGER, self._end_linger)

    def _check_idle(self) -> None:
        if self._state is not _State.OPEN or self._http is None:
            return
        loop, patience = self._listener.loop, self._listener.config.keep_alive_timeout
        idle = 0.0 if self._idle_since is None else loop.time() - self._idle_since
        if idle >= patience:
            self._http.shut_down()
            self._idle_since = None
        self._timer = loop.call_later(max(patience - idle, 1.0), self._check_idle)
