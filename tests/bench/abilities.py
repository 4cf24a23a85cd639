"""What each server can do beside being fast: asked of each while it runs, not taken from its documentation.

The same for all: every one runs with the same credentials, these change and a caller is revoked under it, and nobody
sends it a signal or starts it anew.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from OpenSSL import SSL

from tests.bench import contestants as who
from tests.bench.app import BY_PEER
from tests.bench.figures import BARE
from tests.bench.machine import Cores
from tests.bench.servers import Server, ServerFailedError, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ASKED = (who.OURS, who.STOCK, who.UVICORN_ZTTP, who.GRANIAN, who.AIOHTTP, who.GO, who.GRPC)

_PATIENCE = 5.0
_TAKE_UP = 3.0
"""Seconds that a server has to see what has changed."""

_UNREACHABLE = (ServerFailedError, SSL.Error, OSError)

_GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one server did. None: it could not be asked."""

    names_caller_over_http1: bool | None
    names_caller_over_http2: bool | None
    sends_ca_names: bool
    """In its CertificateRequest, so that a client knows which of its certificates is wanted."""
    takes_up_certificate: bool
    """A new server certificate in the same files, without a restart."""
    cuts_revoked: bool | None
    """The open connection of a caller whose certificate was revoked is ended."""


class Visitor:
    """A connection that can ask over HTTP/1.1. Raises OSError or SSL.Error where it is refused."""

    def __init__(self, server: Server, credential: Path) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.use_certificate_chain_file(str(credential / "tls.crt"))
        context.use_privatekey_file(str(credential / "tls.key"))
        context.load_verify_locations(str(credential / "ca.crt"))
        context.set_verify(SSL.VERIFY_PEER)
        context.set_alpn_protos([b"http/1.1" if server.contestant.speaks_http1 else b"h2"])
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=_PATIENCE)
        self._socket.setblocking(True)
        self._tls = SSL.Connection(context, self._socket)
        self._tls.set_tlsext_host_name(b"localhost")
        self._tls.set_connect_state()
        self._tls.do_handshake()

    @property
    def ca_names(self) -> int:
        return len(self._tls.get_client_ca_list())

    @property
    def serial(self) -> int:
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        return 0 if certificate is None else certificate.serial_number

    def greeted(self) -> bytes:
        """What the server says to a GET; empty where it has ended the connection."""
        answer = b""
        with suppress(SSL.Error, OSError):
            self._tls.sendall(_GET)
            while b"!" not in answer:
                if not self._tls.pending() and not select.select([self._socket], [], [], _PATIENCE)[0]:
                    break
                answer += self._tls.recv(65_536)
        return answer if b"Hello " in answer else b""

    def close(self) -> None:
        self._socket.close()


def ask_all(stage: Stage, step: Callable[[str, int], None]) -> dict[str, Abilities]:
    """Ask everybody who is there and can be reached. Changes the credentials of this stage."""
    mallory = stage.credentials.another_client("mallory")
    with ExitStack() as stack:
        guests = []
        for contestant in ASKED:
            step(f"what {contestant.name} can do", 0)
            if contestant.missing() is None:
                with suppress(*_UNREACHABLE):
                    server = stack.enter_context(stage.running(contestant, BARE, Cores.choose()))
                    guests.append(_Guests(server, stage.credentials.client, mallory))
        stage.credentials.rotate_server()
        stage.credentials.revoke("mallory")
        time.sleep(_TAKE_UP)
        found = {}
        for one in guests:
            with suppress(*_UNREACHABLE):
                found[one.server.contestant.name] = one.judge()
        return found


class _Guests:
    """Who visits one server: Alice, once before the change and once after it, and Mallory, whom it revokes."""

    def __init__(self, server: Server, client: Path, mallory: Path) -> None:
        self.server = server
        self._client = client
        self._alice = Visitor(server, client)
        self._mallory = Visitor(server, mallory)
        if server.contestant.speaks_http1:
            self._mallory.greeted()

    def judge(self) -> Abilities:
        contestant = self.server.contestant
        later = Visitor(self.server, self._client)
        by_http1 = contestant.speaks_http1
        named = by_http1 and contestant.body == BY_PEER and BY_PEER in self._alice.greeted()
        found = Abilities(
            names_caller_over_http1=named if by_http1 else None,
            # The load has seen it: there, another body than this is a wrong answer.
            names_caller_over_http2=contestant.body == BY_PEER if "h2" in contestant.protocols else None,
            sends_ca_names=later.ca_names > 0,
            takes_up_certificate=later.serial != self._alice.serial,
            cuts_revoked=not self._mallory.greeted() if by_http1 else None,
        )
        for visitor in (self._alice, self._mallory, later):
            visitor.close()
        return found


def heads() -> Sequence[str]:
    """A heading for each field, in order."""
    return (
        "names the caller, HTTP/1.1",
        "names the caller, HTTP/2",
        "sends the CA names",
        "takes up a new certificate",
        "ends a revoked caller's connection",
    )
