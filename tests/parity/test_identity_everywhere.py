"""The identity that an application sees is the certificate's, whatever carries the request."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from clients import http1, http2
from clients.rpc import Codec, Method, Protocol
from pki.credential import load_folder
from pki.identity import Identity
from pki.keys import KeyType
from pki.lifecycle import Lifecycle, Request
from pki.names import Names
from pki.profiles import LEAF_PROFILES
from pki.state import State
from services.contracts.handclasp.greeter.v1.greeter_pb import (
    ConverseRequest,
    ConverseResponse,
    GreetRequest,
    GreetResponse,
)
from services.contracts.handclasp.identity.v1.identity_pb import WhoAmIRequest, WhoAmIResponse
from tests.parity._app import described
from tests.support.issuer import client_context
from tests.support.server import Server
from tests.support.tools import require
from tests.support.websocket import WebSocket
from tests.support.wire import Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Ask = Callable[..., Any]

EMAIL, SPIFFE = "alice@example.com", "spiffe://example.com/ns/shop/sa/web"

CALLERS: dict[str, tuple[str, Names, str]] = {
    "email": ("client", Names.parse("email", emails=[EMAIL]), EMAIL),
    "several emails": ("client", Names.parse("several", emails=["Bob@EXAMPLE.com", EMAIL]), "Bob@example.com"),
    "uri": ("client", Names.parse("uri", uris=[SPIFFE]), SPIFFE),
    "dns": ("client", Names.parse("dns", dns_names=["Web.Example.com"]), "web.example.com"),
    "all": ("client", Names.parse("all", emails=[EMAIL], uris=[SPIFFE], dns_names=["web.example.com"]), EMAIL),
    "peer": ("peer", Names.parse("peer", dns_names=["web.example.com"], ip_addresses=["127.0.0.1"]), "web.example.com"),
}
# What every client here can present: the standard library's OpenSSL need not know ML-DSA.
KEYS = [key for key in KeyType if not key.experimental]


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory: pytest.TempPathFactory) -> Lifecycle:
    made = Lifecycle(State(tmp_path_factory.mktemp("parity") / "state"))
    now = datetime.now(UTC)
    made.init("Parity CA", key=KeyType.P256, now=now)
    names = Names.parse("localhost", dns_names=["localhost"], ip_addresses=["127.0.0.1"])
    made.issue(Request(LEAF_PROFILES["server"], names), now=now)
    return made


@pytest.fixture(scope="module")
def server(lifecycle: Lifecycle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    credentials = lifecycle.state.folder / "credentials"
    running = Server(
        tmp_path_factory.mktemp("log"),
        credentials / "localhost",
        credentials / "localhost",
        "tests.parity._app:app",
        # An RSA client can sign in TLS 1.3 under any policy; curl of an old distribution is served too.
        ["--tls-policy", "intermediate"],
    )
    yield running
    running.stop()
    assert "Traceback" not in running.log()


def over_client(client: Callable[..., Any]) -> Ask:
    def ask(server: Server, folder: Path, path: str = "/") -> Any:
        with client(f"https://localhost:{server.port}", folder) as session:
            session.get(path)  # the second request on a connection is told the same as the first
            return json.loads(session.get(path).body)

    return ask


def over_async_client(client: Callable[..., Any]) -> Ask:
    def ask(server: Server, folder: Path, path: str = "/") -> Any:
        async def get() -> Any:
            async with client(f"https://localhost:{server.port}", folder) as session:
                first, second = await asyncio.gather(session.get(path), session.get(path))
                assert first.body == second.body
                return json.loads(second.body)

        return asyncio.run(get())

    return ask


class CalledBy:
    """The server, as one caller connects to it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._port, self._folder = server.port, folder

    def h1(self) -> Line1:
        return Line1(self._port, client_context(self._folder, trust=self._folder / "ca.crt", alpn=("http/1.1",)))

    def h2(self) -> Wire:
        return Wire(self._port, client_context(self._folder, trust=self._folder / "ca.crt", alpn=("h2",)))


def over_websocket(http: str) -> Ask:
    def ask(server: Server, folder: Path) -> Any:
        with WebSocket(CalledBy(server, folder), http, "/").accepted() as socket:
            socket.send("who am I?")
            message = socket.receive()
            assert isinstance(message, str)
            return json.loads(message)

    return ask


def over_curl(option: str) -> Ask:
    def ask(server: Server, folder: Path, path: str = "/") -> Any:
        words = [require("curl"), "--silent", "--show-error", "--fail", option, "--cacert", folder / "ca.crt"]
        words += ["--cert", folder / "tls.crt", "--key", folder / "tls.key", f"https://localhost:{server.port}{path}"]
        return json.loads(subprocess.run(words, check=True, capture_output=True, timeout=60).stdout)

    return ask


WAYS: dict[str, tuple[Ask, str]] = {
    "clients.http1": (over_client(http1.Client), "1.1"),
    "clients.http1, async": (over_async_client(http1.AsyncClient), "1.1"),
    "clients.http2": (over_client(http2.Client), "2"),
    "clients.http2, async": (over_async_client(http2.AsyncClient), "2"),
    "WebSocket over HTTP/1.1": (over_websocket("h1"), "1.1"),
    "WebSocket over HTTP/2": (over_websocket("h2"), "2"),
    "curl --http1.1": (over_curl("--http1.1"), "1.1"),
    "curl --http2": (over_curl("--http2"), "2"),
}


WHO_AM_I = "/handclasp.identity.v1.IdentityService/WhoAmI"


def over_grpcio(server: Server, folder: Path) -> WhoAmIResponse:
    read = {name: (folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")}
    credentials = grpc.ssl_channel_credentials(read["ca.crt"], read["tls.key"], read["tls.crt"])
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        return WhoAmIResponse.from_binary(channel.unary_unary(WHO_AM_I)(b"", timeout=60))


def over_connect(option: str, kind: str) -> Callable[[Server, Path], WhoAmIResponse]:
    def ask(server: Server, folder: Path) -> WhoAmIResponse:
        words = [require("curl"), "--silent", "--show-error", "--fail", option, "--cacert", folder / "ca.crt"]
        words += [
            "--cert",
            folder / "tls.crt",
            "--key",
            folder / "tls.key",
            f"https://localhost:{server.port}{WHO_AM_I}",
        ]
        words += ["--header", f"content-type: application/{kind}", "--data", "{}" if kind == "json" else ""]
        said = subprocess.run(words, check=True, capture_output=True, timeout=60).stdout
        return WhoAmIResponse.from_json(said.decode()) if kind == "json" else WhoAmIResponse.from_binary(said)

    return ask


def over_grpc_web(http: str) -> Callable[[Server, Path], WhoAmIResponse]:
    def ask(server: Server, folder: Path) -> WhoAmIResponse:
        caller, framed = CalledBy(server, folder), bytes(5)
        if http == "h1":
            with caller.h1() as line:
                head = f"POST {WHO_AM_I} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n"
                line.send_bytes(f"{head}content-length: 5\r\n\r\n".encode() + framed)
                body = bytes(line.reply("POST").body)
        else:
            with caller.h2() as wire:
                more = [("content-type", "application/grpc-web+proto")]
                stream = wire.open(WHO_AM_I, "POST", end=False, more=more)
                wire.say(stream, framed, end=True)
                body = bytes(wire.reply(stream).body)
        return WhoAmIResponse.from_binary(body[5 : 5 + int.from_bytes(body[1:5])])

    return ask


def over_our_client(
    client: Any, protocol: Protocol, codec: Codec = Codec.PROTO
) -> Callable[[Server, Path], WhoAmIResponse]:
    def ask(server: Server, folder: Path) -> WhoAmIResponse:
        with client(f"https://localhost:{server.port}", folder) as session:
            return session.unary(
                Method.of(WHO_AM_I, WhoAmIRequest, WhoAmIResponse), WhoAmIRequest(), protocol=protocol, codec=codec
            )

    return ask


RPC_WAYS: dict[str, tuple[Callable[[Server, Path], WhoAmIResponse], str]] = {
    "gRPC by grpcio": (over_grpcio, "2"),
    "gRPC by clients.http2": (over_our_client(http2.Client, Protocol.GRPC), "2"),
    "Connect by clients.http2": (over_our_client(http2.Client, Protocol.CONNECT), "2"),
    "Connect by clients.http1": (over_our_client(http1.Client, Protocol.CONNECT), "1.1"),
    "Connect-JSON by clients.http1": (over_our_client(http1.Client, Protocol.CONNECT, Codec.JSON), "1.1"),
    "Connect-JSON by curl --http1.1": (over_connect("--http1.1", "json"), "1.1"),
    "Connect-JSON by curl --http2": (over_connect("--http2", "json"), "2"),
    "Connect by curl --http2": (over_connect("--http2", "proto"), "2"),
    "gRPC-Web over HTTP/1.1": (over_grpc_web("h1"), "1.1"),
    "gRPC-Web over HTTP/2": (over_grpc_web("h2"), "2"),
}


GREETER = "handclasp.greeter.v1.GreeterService"
GREET = Method.of(f"{GREETER}/Greet", GreetRequest, GreetResponse)
CONVERSE = Method.of(f"{GREETER}/Converse", ConverseRequest, ConverseResponse)


@pytest.fixture(scope="module")
def issue(lifecycle: Lifecycle) -> Callable[[str, KeyType], Path]:
    """Issue a caller's credential, once."""
    issued: dict[tuple[str, KeyType], Path] = {}

    def issuer(caller: str, key: KeyType) -> Path:
        if (caller, key) not in issued:
            profile, names, _ = CALLERS[caller]
            names = replace(names, name=f"{names.name}-{key.value}")
            request = Request(LEAF_PROFILES[profile], names, key=key)
            issued[caller, key] = lifecycle.issue(request, now=datetime.now(UTC)).folder
        return issued[caller, key]

    return issuer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("caller", "key"),
    [(caller, KeyType.P256) for caller in CALLERS] + [("all", key) for key in KEYS if key is not KeyType.P256],
    ids=lambda value: value.value if isinstance(value, KeyType) else value,
)
def test_the_identity_is_the_certificates(
    server: Server, issue: Callable[[str, KeyType], Path], caller: str, key: KeyType, way: str
) -> None:
    """Field by field, the same over every transport, and the same as read from the certificate itself."""
    folder = issue(caller, key)
    ask, http_version = WAYS[way]
    told = ask(server, folder)
    credential, _ = load_folder(folder)
    identity = Identity.from_certificate(credential.leaf)
    assert told["identity"] == json.loads(json.dumps(described(_Caller(identity))))
    assert identity.name == CALLERS[caller][2]
    assert told["http_version"] == http_version
    assert told["tls"]["client_cert_chain"][0] == credential.chain_pem().decode()
    assert told["tls"]["client_cert_name"] == credential.leaf.subject.rfc4514_string()


@pytest.mark.parametrize("way", [way for way in WAYS if "WebSocket" not in way])
def test_whoami_says_the_same(server: Server, issue: Callable[[str, KeyType], Path], way: str) -> None:
    """`/whoami`, field by field: the certificate's identity, and connections that differ by HTTP version alone."""
    folder = issue("all", KeyType.P256)
    ask, http_version = WAYS[way]
    told = ask(server, folder, "/whoami")
    credential, _ = load_folder(folder)
    identity = described(_Caller(Identity.from_certificate(credential.leaf)))
    assert identity.pop("issuer") == "CN=Parity CA"
    for name, value in identity.items():
        assert told.pop(name) == (value.replace("+00:00", "Z") if name.startswith("not_") else value)
    assert told.pop("group").lower() in ("x25519mlkem768", "x25519")  # as new as the client's OpenSSL
    assert told == {
        "http_version": http_version,
        "tls_version": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "alpn": "h2" if http_version == "2" else "http/1.1",
    }


@pytest.mark.parametrize("way", RPC_WAYS)
@pytest.mark.parametrize("caller", CALLERS)
def test_rpc_says_the_same(server: Server, issue: Callable[[str, KeyType], Path], caller: str, way: str) -> None:
    """WhoAmI, field by field, in every protocol of RPC."""
    folder = issue(caller, KeyType.P256)
    ask, http_version = RPC_WAYS[way]
    told = ask(server, folder)
    credential, _ = load_folder(folder)
    identity = Identity.from_certificate(credential.leaf)
    for name in ("name", "kind", "serial", "sha256"):
        assert getattr(told, name) == getattr(identity, name)
    for name in ("emails", "uris", "dns_names"):
        assert tuple(getattr(told, name)) == getattr(identity, name)
    for name in ("not_before", "not_after"):
        assert getattr(told, name).to_datetime().replace(tzinfo=UTC) == getattr(identity, name)
    assert told.http_version == http_version


class _Caller:
    """What `described` needs of a peer."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


@pytest.mark.parametrize("caller", CALLERS)
def test_a_stream_is_answered_to_the_same_caller(
    server: Server, issue: Callable[[str, KeyType], Path], caller: str
) -> None:
    """In a stream of answers and in a conversation, by gRPC and by Connect."""
    folder, name = issue(caller, KeyType.P256), CALLERS[caller][2]
    with http2.Client(f"https://localhost:{server.port}", folder) as session:
        for protocol in Protocol:
            answers = list(session.server_stream(GREET, GreetRequest(times=3), protocol=protocol))
            said = (ConverseRequest() for _ in range(3))
            answers += session.converse(CONVERSE, said, protocol=protocol)  # type: ignore[arg-type]
            assert [answer.message for answer in answers] == [f"Hello {name}!"] * 6
