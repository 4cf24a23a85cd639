"""The load's side of a connection: pyOpenSSL on a non-blocking socket.

The same OpenSSL as our server's, which is faster than the `ssl` module's on both ends: the load has to outrun the
server. The server's certificate is verified, and every handshake is a full one.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from OpenSSL import SSL

from tests.bench.load.outcome import WrongAnswerError

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 10.0
"""Seconds without any progress after which the run is given up."""

RECORD = 16_640
"""More plaintext than one TLS record holds: nothing stays behind in OpenSSL where no selector would see it."""


def client_context(credential: Path, alpn: bytes) -> SSL.Context:
    """TLS 1.3 with a client certificate; trusts the credential folder's authority alone."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(str(credential / "tls.crt"))
    context.use_privatekey_file(str(credential / "tls.key"))
    context.load_verify_locations(str(credential / "ca.crt"))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_protos([alpn])
    return context


class Wire:
    """One connection. Every method is non-blocking, but `send` waits for a full socket buffer and `open` for all."""

    __slots__ = ("_alpn", "_socket", "tls")

    def __init__(self, context: SSL.Context, port: int, alpn: bytes) -> None:
        """Begin to connect."""
        self._alpn = alpn
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._socket.connect_ex(("127.0.0.1", port))
        self.tls = SSL.Connection(context, self._socket)
        self.tls.set_tlsext_host_name(b"localhost")
        self.tls.set_connect_state()

    def fileno(self) -> int:
        return self._socket.fileno()

    def handshake(self) -> bool:
        """Take the handshake on as far as it goes; return whether it is done.

        Raises:
            WrongAnswerError: refused, or not with the application protocol that was asked for.
        """
        try:
            self.tls.do_handshake()
        except (SSL.WantReadError, SSL.WantWriteError):
            return False
        except SSL.Error as error:
            raise WrongAnswerError(f"handshake: {error!r}") from None
        if self.tls.get_alpn_proto_negotiated() != self._alpn:
            raise WrongAnswerError(f"ALPN chose {self.tls.get_alpn_proto_negotiated()!r}, not {self._alpn!r}")
        return True

    def open(self) -> None:
        """Connect and shake hands, waiting for it.

        Raises:
            WrongAnswerError: refused or too slow.
        """
        select.select([], [self._socket], [], PATIENCE)
        while not self.handshake():
            if not select.select([self._socket], [], [], PATIENCE)[0]:
                raise WrongAnswerError(f"no handshake within {PATIENCE:g} s")

    def receive(self) -> bytes:
        """Return what has arrived, perhaps nothing.

        Raises:
            WrongAnswerError: the server has closed the connection.
        """
        try:
            return self.tls.recv(RECORD)
        except SSL.WantReadError:
            return b""
        except SSL.Error as error:
            raise WrongAnswerError(f"the server closed the connection: {error!r}") from None

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            WrongAnswerError: the server has closed the connection or does not read.
        """
        while data:
            try:
                data = data[self.tls.send(data) :]
            except SSL.WantWriteError:
                if not select.select([], [self._socket], [], PATIENCE)[1]:
                    raise WrongAnswerError(f"the server reads nothing for {PATIENCE:g} s") from None
            except SSL.Error as error:
                raise WrongAnswerError(f"the server closed the connection: {error!r}") from None

    def facts(self) -> str:
        return f"{self.tls.get_protocol_version_name()} {self.tls.get_cipher_name()} {self.tls.get_group_name()}"

    def close(self) -> None:
        """Say goodbye (close_notify) and close."""
        with suppress(SSL.Error):  # the server was first
            self.tls.shutdown()
        self._socket.close()
