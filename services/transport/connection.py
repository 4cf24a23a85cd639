"""Bytes <-> TLS <-> HTTP, as ALPN chose: one object a connection, from the end of its handshake."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from OpenSSL import SSL

from services.transport.context import reason_of
from services.transport.extension import tls_extension
from services.transport.http1 import HTTP1
from services.transport.http2 import HTTP2
from services.transport.linger import Linger
from services.transport.verdict import Action, verdict
from services.transport.wire import RECORD, endpoint, flush, has_more, hung_up

if TYPE_CHECKING:
    from services.peer import Peer
    from services.transport.listener import Listener
    from services.transport.snapshot import Snapshot

log = structlog.get_logger("handclasp.transport")

_LAST_WORDS = 0.5
"""Seconds that a connection which is cut has for its last responses."""


class HTTPProtocol(Protocol):
    """What a connection asks of the HTTP version that runs on it. No method blocks, none raises."""

    def received(self, data: bytes) -> None:
        """Take plaintext from the peer."""

    def writable(self) -> None:
        """The peer has taken what was owed to it: send on."""

    def shut_down(self, *, late: bool) -> None:
        """Lose no request, begin no more than those on their way, then close the connection.

        `late`: a request may be on its way though none is seen yet.
        """

    def cut(self) -> None:
        """Answer 401 where nothing was answered yet, then end."""

    def find_stalled(self, since: float) -> str | None:
        """What the peer has let stand still since this moment of the loop's clock; None where it has not."""

    def calm_down(self, reason: str) -> None:
        """The peer has broken a limit: tell it, then end."""

    def finish(self) -> None:
        """There is no more time: say what was seen, and end."""

    def lost(self) -> None:
        """The connection is gone: tell the applications."""


class Connection(asyncio.Protocol):
    """One verified caller's connection. It is open until it has handed its transport on, or lost it."""

    __slots__ = (
        "_away",
        "_cut",
        "_good_until",
        "_http",
        "_idle_since",
        "_judged",
        "_listener",
        "_open",
        "_owed",
        "_timer",
        "_tls",
        "_transport",
        "extension",
        "over_limit",
        "peer",
        "requests",
        "writing_paused",
    )

    peer: Peer
    """The verified caller, the same object for all of its requests here."""
    extension: dict[str, Any]
    """The ASGI TLS extension of this connection."""

    def __init__(
        self, tls: Any, transport: asyncio.Transport, listener: Listener, peer: Peer, snapshot: Snapshot
    ) -> None:
        self._tls = tls
        self._transport = transport
        self._listener = listener
        self._judged = snapshot
        self._good_until = peer.since
        self._owed = 0, 0.0
        self._away: asyncio.TimerHandle | None = None
        self._cut = False
        self.peer = peer
        self.requests = 0
        self.over_limit = False
        self.extension = tls_extension(peer, snapshot.server_cert)
        self._open = False
        self._http: HTTPProtocol | None = None
        self._idle_since: float | None = None
        self.writing_paused = False

    def open(self) -> None:
        """Take the transport over from the handshake, and read what the client has sent behind it."""
        self._open = True
        self._transport.set_protocol(self)
        self._transport.set_write_buffer_limits(high=4 * RECORD)
        loop = self._listener.loop
        self._idle_since = loop.time()
        self._timer = loop.call_later(self._listener.config.keep_alive_timeout, self._look)
        self._listener.audit.connection_opened(self.peer)
        protocol = HTTP2 if self.peer.alpn == "h2" else HTTP1
        self._http = protocol(self, self._listener, endpoint(self._transport, "sockname"))
        if self._listener.draining:
            self._http.shut_down(late=True)
        if not self._listener.welcome(self):
            self.over_limit = True
            self._http.calm_down("too many connections of one identity")
        if self.is_vouched() and self._open:  # trust may have changed since the handshake began
            self._read()

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        self._tls.bio_write(data)
        self._read()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._owed = 0, 0.0
        if self._http is not None:
            self._http.writable()

    def eof_received(self) -> bool:
        self._peer_ended()
        if not self.unsent:
            return False
        self._linger()
        return True  # the linger closes it: asyncio would wait without end for a peer that takes nothing

    def connection_lost(self, _: Exception | None) -> None:
        self._leave()
        self._peer_ended()
        self._listener.remove(self)

    # What the protocols call.

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """Send plaintext. It leaves the process in few TLS records; nothing is kept back.

        Small parts share a record with their neighbours; one that fills a record of its own is not copied first.
        """
        if not self.is_open:
            return
        size, small = 0, []
        encrypt = self._tls.sendall
        try:
            for part in parts:
                size += len(part)
                if len(part) < RECORD:
                    small.append(part)
                    continue
                if small:
                    encrypt(b"".join(small))
                    small.clear()
                encrypt(part)
            if small:
                encrypt(small[0] if len(small) == 1 else b"".join(small))
        except SSL.Error as error:
            self._broken(error)
            return
        flush(self._tls, self._transport, size)

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process for the peer to take them."""
        return self._transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Whether what is sent can still reach the peer. A transport may know that it cannot, and not yet have said."""
        return self._open and not self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the peer until `resume_reading`: back-pressure, down to its TCP window."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def peer_hung_up(self) -> bool:
        """Whether the peer's end has arrived, though what is before it was not read."""
        return hung_up(self._transport)

    def set_idle(self, idle: bool) -> None:
        """Tell whether a request is being answered; idle connections end after `keep_alive_timeout` seconds."""
        self._idle_since = self._listener.loop.time() if idle else None

    def close(self) -> None:
        """Say goodbye (close_notify), let what was sent reach the peer, then close."""
        if not self._open:
            return
        with suppress(SSL.Error):  # after a fatal error there is nobody to say goodbye to
            self._tls.shutdown()
        flush(self._tls, self._transport)
        self._linger()

    def cut_short(self) -> None:
        """Let what was sent reach the peer, then close without a close_notify: something is missing behind it."""
        if self._open:
            self._linger()

    def abort(self) -> None:
        """End the connection at once, whatever is on its way."""
        self._transport.abort()

    # Trust.

    def is_vouched(self) -> bool:
        """Whether the caller may be answered under the trust of this moment. Where not, the connection is cut by now.

        Asked at each request and each message of a WebSocket, and of every connection on each new Snapshot: it costs
        two comparisons while nothing has changed.
        """
        if self._cut:
            return False
        snapshot, now = self._listener.source.snapshot, datetime.now(UTC)
        if snapshot is self._judged and now < self._good_until:
            return True
        found = verdict(self.peer, snapshot, now)
        if found.action is Action.CUT:
            self.cut(found.reason or "")
            return False
        self._judged, self._good_until = snapshot, found.until or self.peer.identity.not_after
        if found.action is Action.DRAIN:
            self.send_away(found.reason or "")
        else:
            self._look_again()
        return True

    def cut(self, reason: str) -> None:
        """End it now: what was not answered yet gets 401."""
        if self._open and self._http is not None and not self._cut:
            self._cut = True
            self._listener.audit.connection_cut(self.peer, reason)
            log.warning("connection cut", reason=reason, identity=self.peer.identity.name)
            self._http.cut()
            self._listener.loop.call_later(_LAST_WORDS, self._finish_http)

    def send_away(self, reason: str) -> None:
        """Let what is under way go on for `drain_timeout` seconds, begin nothing new, then end."""
        if self._http is not None and self._away is None:
            self._listener.audit.connection_drained(self.peer, reason)
            self._away = self._listener.loop.call_later(self._listener.limits.drain_timeout, self._finish_http)
            self._http.shut_down(late=True)

    def limit_broken(self, reason: str, status: int | str | None = None) -> None:
        """Write down that the peer has broken a limit; `status` is what it was answered, or how its stream was reset.

        None: the connection ends.
        """
        if status is None:
            self._listener.audit.connection_cut(self.peer, reason)
            log.warning("connection ended", reason=reason, identity=self.peer.identity.name)
        else:
            self._listener.audit.request_refused(self.peer, reason, status)

    # What the worker calls.

    def shut_down(self) -> None:
        """End the connection without losing a request (RFC 9113 section 6.8, RFC 9112 section 9.6)."""
        if self._http is not None:
            self._http.shut_down(late=True)

    def judge(self) -> None:
        """Trust has changed: see whether this caller may stay."""
        self.is_vouched()

    def finish(self) -> None:
        """The time to end has run out: say so to the peer, then end at once, whatever is on its way."""
        self._finish_http()
        self.abort()

    def _finish_http(self) -> None:
        if self._open and self._http is not None:
            self._http.finish()

    # Reading, writing, ending.

    def _read(self) -> None:
        chunks = []
        end: SSL.Error | None = None
        receive = self._tls.recv
        try:
            while True:
                chunks.append(receive(RECORD))
                if not has_more(self._tls):
                    break
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            end = error
        if not chunks:
            flush(self._tls, self._transport)  # what OpenSSL itself answers: an alert to a renegotiation, a KeyUpdate
        elif self._http is not None:
            self._http.received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if end is not None and self._open:
            if isinstance(end, SSL.ZeroReturnError):
                self._peer_ended()
                self.close()
            else:
                self._broken(end)

    def _broken(self, error: SSL.Error) -> None:
        """The TLS stream is corrupt or was cut short: nothing more can be said on it but OpenSSL's alert."""
        if not isinstance(error, SSL.SysCallError):
            log.info("connection broken", reason=reason_of(error), identity=self.peer.identity.name)
        self._peer_ended()
        flush(self._tls, self._transport)
        self._linger()

    def _peer_ended(self) -> None:
        """The peer says no more: the applications hear of it now, not when the last of our bytes is gone."""
        if self._http is not None:
            http, self._http = self._http, None
            http.lost()

    def _linger(self) -> None:
        """Nothing more will be said here: hand the transport on."""
        if not self._open:
            return
        self._leave()
        if self._http is not None:  # in the next turn of the loop: it may be the caller
            http, self._http = self._http, None
            self._listener.loop.call_soon(http.lost)
        if self._transport.is_closing():
            return  # connection_lost is on its way
        self._listener.replace(self, Linger(self._transport, self._listener))

    def _leave(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            if self._away is not None:
                self._away.cancel()
            lived = datetime.now(UTC) - self.peer.since
            self._listener.audit.connection_closed(self.peer, lived, self.requests)
            self._listener.farewell(self)
            del self._tls  # the context's callbacks hold on to it: free OpenSSL's memory now, not with the next cycles

    def _look(self) -> None:
        """What time alone changes: trust that ends, an idle connection, a peer that takes nothing."""
        if self._http is None or not self.is_vouched():
            return
        loop, config = self._listener.loop, self._listener.config
        idle = 0.0 if self._idle_since is None else loop.time() - self._idle_since
        if idle >= config.keep_alive_timeout:
            self._http.shut_down(late=False)
            self._idle_since = None
        elif self._idle_since is None and (stalled := self._stalled()):
            self._http.calm_down(stalled)
            return
        self._look_again()

    def _stalled(self) -> str | None:
        owed, since = self._owed
        now, patience = self._listener.loop.time(), self._listener.limits.stall_timeout
        # While writing is paused nothing is added: the same bytes are still owed.
        if not self.writing_paused or self.unsent != owed:
            self._owed = self.unsent, now
        elif now - since >= patience:
            self.limit_broken("the peer takes nothing of what is owed to it")
            self.abort()
            return None
        return self._http.find_stalled(now - patience) if self._http is not None else None

    def _look_again(self) -> None:
        if not self._open:
            return
        loop, config = self._listener.loop, self._listener.config
        if self._idle_since is None:
            delay = self._listener.limits.stall_timeout
        else:
            delay = config.keep_alive_timeout - (loop.time() - self._idle_since)
        vouched = (self._good_until - datetime.now(UTC)).total_seconds()
        self._timer.cancel()
        self._timer = loop.call_later(max(min(delay, vouched), 0.05), self._look)
