"""The server's half of a handshake: from a ClientHello to a verified peer, or to a refusal that says why.

The handshake runs in memory (pyOpenSSL), under the context of the Snapshot that was current when the connection was
accepted. Once it is done the transport is handed on to a Connection; once it is refused, to a Linger.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import structlog
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from services.peer import Peer
from services.transport.connection import Connection
from services.transport.context import Judgement, NoCommonProtocolError, reason_of
from services.transport.linger import Linger
from services.transport.path import path_of
from services.transport.wire import endpoint, flush

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from pki.identity import Identity
    from services.transport.listener import Listener
    from services.transport.snapshot import Snapshot
    from services.transport.wire import Address

log = structlog.get_logger("handclasp.transport")

_LAST_HANDSHAKE = 2.0
"""Seconds that a handshake under way has left when the process is stopping."""

_PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 45\r\n\r\n"
    b"This port speaks TLS: ask for https, not http"
)


class Handshake(asyncio.Protocol):
    """What the event loop makes for each connection that it accepts."""

    __slots__ = ("_judgement", "_listener", "_over", "_snapshot", "_timer", "_tls", "_transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._judgement = Judgement()
        self._over = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._listener.has_room():
            self._over = True
            self._listener.audit.connection_refused("too many connections", endpoint(transport, "peername"))
            self._transport.abort()
            return
        self._listener.connections.add(self)
        self._listener.handshakes[self] = None
        self._snapshot: Snapshot = self._listener.source.snapshot
        self._tls = SSL.Connection(self._snapshot.context)
        self._tls.set_accept_state()
        self._tls.set_app_data(self._judgement)
        self._timer = self._listener.loop.call_later(self._listener.config.ssl_handshake_timeout, self._timed_out)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._tls.bio_write(data)
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            flush(self._tls, self._transport)
        except NoCommonProtocolError as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - whatever a stranger's certificate does to a parser: refused
            reason = self._judgement.reason or reason_of(error)
            if reason in ("http request", "https proxy request"):
                self._transport.write(_PLAIN_HTTP_ANSWER)
                self._refuse("plain HTTP on a TLS port", alert=False)
            else:
                self._refuse(reason)
        else:
            self._done()

    def eof_received(self) -> bool:
        return False  # asyncio closes the transport

    def connection_lost(self, _: Exception | None) -> None:
        if not self._over:
            self._end("the client closed the connection during the handshake")
        self._listener.remove(self)

    # What the worker calls.

    def judge(self) -> None:
        """Trust has changed: the connection is judged when it opens."""

    def make_room(self) -> None:
        """Another wants to be heard, and there are too many that have begun and said nothing."""
        self._end("it was the slowest of too many handshakes")
        self._transport.abort()

    def shut_down(self) -> None:
        """A request may already be on its way behind the handshake: it is served. Who is silent is not waited for."""
        if not self._over:
            self._timer.cancel()
            self._timer = self._listener.loop.call_later(_LAST_HANDSHAKE, self._timed_out)

    def finish(self) -> None:
        """There is no more time."""
        self._transport.abort()

    # Ends of a handshake.

    def _done(self) -> None:
        tls, transport, listener = self._tls, self._transport, self._listener
        flush(tls, transport)
        identity = self._judgement.identity
        chain = tls.get_verified_chain(as_cryptography=True)
        if identity is None or not chain:  # OpenSSL was content, the callback was not asked: nobody was verified
            self._refuse("no certificate was verified")
            return
        self._over = True
        self._timer.cancel()
        self._listener.handshakes.pop(self, None)
        tls.set_app_data(None)  # a second verification on this connection would fail: there is none (RFC 8740)
        peer = peer_of(tls, identity, chain, endpoint(transport, "peername"), self._snapshot.generation)
        del self._tls
        connection = Connection(tls, transport, listener, peer, self._snapshot)
        listener.replace(self, connection)
        connection.open()

    def _refuse(self, reason: str, *, alert: bool = True) -> None:
        if alert:
            flush(self._tls, self._transport)  # the alert that names the reason: asyncio's own TLS never sends it
        self._end(reason)
        self._listener.replace(self, Linger(self._transport, self._listener))

    def _timed_out(self) -> None:
        self._end(f"no handshake within {self._listener.config.ssl_handshake_timeout:g} s")
        self._transport.abort()

    def _end(self, reason: str) -> None:
        self._over = True
        self._timer.cancel()
        self._listener.handshakes.pop(self, None)
        address, presented = endpoint(self._transport, "peername"), self._judgement.certificate
        self._listener.audit.handshake_refused(reason, address, presented)
        log_refusal(reason, address, presented)
        del self._tls  # the context's callbacks hold on to it: free OpenSSL's memory now, not when cycles are collected


def peer_of(tls: Any, identity: Identity, chain: Sequence[x509.Certificate], address: Address, generation: int) -> Peer:
    """Gather what is known of a verified caller. `tls` is the pyOpenSSL connection whose handshake is done."""
    return Peer(
        identity=identity,
        subject=chain[0].subject.rfc4514_string(),
        chain=tuple(map(_pem, chain)),
        tls_version=tls.get_protocol_version_name(),
        cipher=tls.get_cipher_name() or "",
        group=tls.get_group_name(),
        alpn=tls.get_alpn_proto_negotiated().decode("ascii") or None,
        address=address,
        generation=generation,
        path=path_of(chain),
    )


def log_refusal(reason: str, address: Address, certificate: x509.Certificate | None) -> None:
    """Say why nobody was let in, and what was presented: nothing of it was verified."""
    log.warning(
        "handshake refused",
        reason=reason,
        address=address[0] if address else None,
        **(_presented(certificate) if certificate is not None else {}),
    )


def _presented(certificate: x509.Certificate) -> dict[str, str]:
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = "unreadable"
    return {"presented_subject": subject, "presented_serial": format(certificate.serial_number, "x")}


@lru_cache(maxsize=1024)
def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
