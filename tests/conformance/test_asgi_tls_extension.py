"""The ASGI TLS extension, version 0.2: the standard's keys with the standard's types, on every scope."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.credential import load_folder
from pki.lifecycle import Request
from pki.names import Names
from pki.profiles import LEAF_PROFILES
from services.transport.context import _TLS12_SUITES
from services.transport.extension import _CIPHER_SUITES
from tests.support.issuer import Issued, Issuer, client_context
from tests.support.tools import require
from tests.support.websocket import WebSocket
from tests.support.wire import Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.lifecycle import Lifecycle
    from tests.support.server import Server

KEYS = {"server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version", "cipher_suite"}
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    return start(app="tests.parity._app:app")


class _Intermediate(Issuer):
    """An authority under another one."""

    def __init__(self, issued: Issued) -> None:
        self._key, self.certificate = issued.key, issued.certificate


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


def certificates(pems: list[str]) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]


def over_http(http: str) -> Callable[[Caller], Any]:
    def ask(caller: Caller) -> Any:
        with caller.h1() if http == "h1" else caller.h2() as line:
            return json.loads(line.get("/").body)

    return ask


def over_websocket(http: str) -> Callable[[Caller], Any]:
    def ask(caller: Caller) -> Any:
        with WebSocket(caller, http, "/").accepted() as socket:  # type: ignore[arg-type]
            socket.send("?")
            return json.loads(str(socket.receive()))

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
    """All six keys: the leaf comes first in the chain, the numbers are IANA's."""
    alice, trust = load_folder(credentials / "alice")
    ours, _ = load_folder(credentials / "localhost")
    tls = WAYS[way](Caller(server, version))["tls"]
    assert set(tls) == KEYS
    assert certificates([tls["server_cert"]]) == [ours.leaf]
    assert certificates(tls["client_cert_chain"]) == [alice.leaf, *trust.anchors]
    assert tls["client_cert_name"] == "CN=alice"
    assert tls["client_cert_error"] is None
    assert tls["tls_version"] == (0x0304 if version is TLS13 else 0x0303)
    assert tls["cipher_suite"] == (0x1302 if version is TLS13 else 0xC02C)


@pytest.mark.parametrize("http", ["h1", "h2"])
def test_an_application_speaks_to_its_own_request_alone(server: Server, http: str) -> None:
    """One that empties the dictionary, and the list in it, leaves the connection's next request as it should be."""
    caller = Caller(server, TLS13)
    with caller.h1() if http == "h1" else caller.h2() as line:
        first, second = (json.loads(line.get("/careless").body) for _ in range(2))
    assert len(first["tls"]["client_cert_chain"]) == 2
    assert second["tls"] == first["tls"]


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
    assert certificates(chain) == [alice.leaf, *trust.anchors]


def test_intermediates_are_between_the_leaf_and_the_anchor(
    start: Callable[..., Server], lifecycle: Lifecycle, tmp_path: Path
) -> None:
    """Leaf first, each signed by the next, and the name is RFC 4514 text: last part first, commas escaped."""
    root = Issuer("Root")
    between = root.issue("Between", san=(), purposes=(), ca=True, signs_certificates=True)
    intermediate = _Intermediate(between)
    leaf = intermediate.issue('Smith, "Al" + Co')
    folder = leaf.save(tmp_path / "smith")
    pem = between.certificate.public_bytes(Encoding.PEM)
    with (folder / "tls.crt").open("ab") as chain:
        chain.write(pem)
    names = Names.parse("two-roots", dns_names=["localhost"])
    own = lifecycle.issue(Request(LEAF_PROFILES["server"], names, out=tmp_path / "own"), now=datetime.now(UTC)).folder
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        shutil.copy(own / name, plain / name)
    with (plain / "ca.crt").open("ab") as bundle:
        bundle.write(root.certificate.public_bytes(Encoding.PEM))
    server = start(app="tests.parity._app:app", credential=plain)
    context = client_context(folder, trust=own / "ca.crt", alpn=("h2",))
    with Wire(server.port, context) as wire:
        tls = json.loads(wire.get("/").body)["tls"]
    assert certificates(tls["client_cert_chain"]) == [leaf.certificate, between.certificate, root.certificate]
    assert tls["client_cert_name"] == r"CN=Smith\, \"Al\" \+ Co"


def test_the_numbers_of_the_suites_are_openssl_s() -> None:
    """Whatever suite a policy allows has its number, and it is the one that goes over the wire."""
    words = [require("openssl"), "ciphers", "-V", "ALL"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    numbers = {name: int(high + low, 16) for high, low, name in re.findall(r"0x(..),0x(..) - (\S+)", printed)}
    suites = {suite for some in _TLS12_SUITES.values() for suite in some.decode().split(":")}
    suites |= {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
    assert {suite: numbers[suite] for suite in suites} == _CIPHER_SUITES
