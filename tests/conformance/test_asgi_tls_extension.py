"""The ASGI TLS extension, version 0.2: the standard's keys with the standard's types, on every scope."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from pki.credential import load_folder
from tests.faults._issuer import client_context
from tests.faults._websocket import WebSocket
from tests.faults._wire import Line1, Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults._server import Server

KEYS = {"server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version", "cipher_suite"}
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    return start(app="tests.parity._app:app")


class Caller:
    """Alice, with one TLS version."""

    def __init__(self, server: Server, version: ssl.TLSVersion) -> None:
        self._server, self._version = server, version

    def _context(self, alpn: str) -> ssl.SSLContext:
        context = client_context(self._server.client, trust=self._server.client / "ca.crt", alpn=(alpn,))
        context.minimum_version = context.maximum_version = self._version
        return context

    def h1(self) -> Line1:
        return Line1(self._server.port, self._context("http/1.1"))

    def h2(self) -> Wire:
        return Wire(self._server.port, self._context("h2"))


def over_http(http: str) -> Callable[[Caller], list[Any]]:
    def ask(caller: Caller) -> list[Any]:
        with caller.h1() if http == "h1" else caller.h2() as line:
            return [json.loads(line.get("/").body) for _ in range(2)]

    return ask


def over_websocket(http: str) -> Callable[[Caller], list[Any]]:
    def ask(caller: Caller) -> list[Any]:
        with WebSocket(caller, http, "/").accepted() as socket:  # type: ignore[arg-type]
            socket.send("?")
            return [json.loads(str(socket.receive()))]

    return ask


WAYS = {
    "http over HTTP/1.1": over_http("h1"),
    "http over HTTP/2": over_http("h2"),
    "websocket over HTTP/1.1": over_websocket("h1"),
    "websocket over HTTP/2": over_websocket("h2"),
}


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("way", WAYS)
def test_every_scope_has_the_extension(server: Server, credentials: Path, way: str, version: ssl.TLSVersion) -> None:
    """All six keys, also on the second request of a connection whose first request emptied the dictionary."""
    alice, _ = load_folder(credentials / "alice")
    ours, _ = load_folder(credentials / "localhost")
    for answer in WAYS[way](Caller(server, version)):
        tls = answer["tls"]
        assert set(tls) == KEYS
        assert x509.load_pem_x509_certificate(tls["server_cert"].encode()) == ours.leaf
        assert x509.load_pem_x509_certificate(tls["client_cert_chain"][0].encode()) == alice.leaf
        assert tls["client_cert_name"] == "CN=alice"
        assert tls["client_cert_error"] is None
        assert tls["tls_version"] == (0x0304 if version is TLS13 else 0x0303)
        assert tls["cipher_suite"] == (0x1302 if version is TLS13 else 0xC02C)


def test_only_the_verified_chain_is_shown(server: Server, credentials: Path, tmp_path: Path) -> None:
    """A certificate that the client sends along, and that has no part in the verification, does not reach the app."""
    alice, trust = load_folder(credentials / "alice")
    stranger, _ = load_folder(credentials / "localhost")
    folder = tmp_path / "alice"
    folder.mkdir()
    (folder / "tls.crt").write_bytes(alice.chain_pem() + stranger.chain_pem())
    (folder / "tls.key").touch(0o600)
    (folder / "tls.key").write_bytes(alice.key_pem())
    context = client_context(folder, trust=credentials / "alice" / "ca.crt", alpn=("h2",))
    with Wire(server.port, context) as wire:
        chain = json.loads(wire.get("/").body)["tls"]["client_cert_chain"]
    assert [x509.load_pem_x509_certificate(pem.encode()) for pem in chain] == [alice.leaf, *trust.anchors]
