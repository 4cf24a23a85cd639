"""The public interface, as a program with strict types uses it. It is checked, never run: `mypy --strict`.

What has to be refused carries a `type: ignore`, and one that is not needed is an error, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from clients.api import Reply, WhoAmI
from clients.errors import CertificateRefused, ClientError, RPCError
from clients.http1 import Client as HTTP1Client
from clients.http2 import AsyncClient, Client
from clients.renewal import AsyncAutoRenew, AutoRenew
from clients.rpc import Codec, Method, Protocol
from clients.workload import WorkloadCredential
from pki.credential import Credential
from pki.errors import PKIError
from pki.identity import Identity
from pki.trust import TrustBundle
from services.authorization.authorizers import Authorizer, all_of, allow_email, allow_uri, any_of, deny
from services.authorization.gate import Call
from services.contracts.handclasp.greeter.v1.greeter_pb import (
    GreetRequest,
    GreetResponse,
    SayHelloRequest,
    SayHelloResponse,
)
from services.peer import NoPeerError, Peer, current_peer

SAY_HELLO = Method.of("handclasp.greeter.v1.GreeterService/SayHello", SayHelloRequest, SayHelloResponse)
GREET = Method.of("handclasp.greeter.v1.GreeterService/Greet", GreetRequest, GreetResponse)


def call(folder: Path) -> None:
    with Client("https://localhost:8443", folder, timeout=3) as client, AutoRenew(client):
        assert_type(client.greet(), str)
        assert_type(client.whoami(), WhoAmI)
        assert_type(client.get("/healthz"), Reply)
        assert_type(client.unary(SAY_HELLO, SayHelloRequest(), codec=Codec.JSON), SayHelloResponse)
        client.unary(SAY_HELLO, GreetRequest())  # type: ignore[misc]
        client.greet(3)  # type: ignore[arg-type]
    with HTTP1Client("https://localhost:8443", "state/credentials/alice") as older:
        for answer in older.server_stream(GREET, GreetRequest(times=2), protocol=Protocol.CONNECT):
            assert_type(answer, GreetResponse)
    Client("https://localhost:8443")  # type: ignore[call-arg]


async def call_asynchronously() -> None:
    async with AsyncClient("https://localhost:8443", "state/credentials/alice") as client, AsyncAutoRenew(client):
        assert_type(await client.greet("Hi"), str)
        assert_type((await client.whoami()).emails, tuple[str, ...])
        async for answer in client.server_stream(GREET, GreetRequest(times=2)):
            assert_type(answer, GreetResponse)


def fail() -> str:
    try:
        call(Path("state/credentials/alice"))
    except CertificateRefused as error:
        return assert_type(error.alert, str)
    except RPCError as error:
        return assert_type(error.code, str)
    except ClientError as error:
        return assert_type(str(error), str)
    return ""


def who() -> str:
    try:
        peer = current_peer()
    except NoPeerError:
        return "nobody"
    assert_type(peer, Peer)
    assert_type(peer.identity, Identity)
    assert_type(peer.identity.emails, tuple[str, ...])
    peer.identity.emails = ()  # type: ignore[misc]
    return peer.identity.name


OPERATORS = any_of(
    allow_email("*@ops.example.com"), all_of(allow_uri("spiffe://example.com/*"), deny(allow_uri("x:y")))
)


def may(authorizer: Authorizer, identity: Identity) -> bool:
    allow_email(7)  # type: ignore[arg-type]
    return assert_type(authorizer(identity), bool)


async def engine(asked: Call) -> bool:
    return asked.method == "GET" and may(OPERATORS, asked.peer.identity)


def look(folder: Path) -> int:
    try:
        with WorkloadCredential(folder):
            assert_type(Credential.load(folder), Credential)
        return assert_type(len(TrustBundle.load(folder / "ca.crt")), int)
    except PKIError as error:
        return assert_type(error.exit_code, int)
