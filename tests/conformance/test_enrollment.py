"""Renewal and enrollment over the wire: what is answered, what is refused, and that it is all written down."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki import revocation
from pki.crl_signing import Reason
from pki.identity import Identity
from pki.pem import parse_certificates
from services.contracts.handclasp.enrollment.v1.enrollment_pb import (
    EnrollRequest,
    EnrollResponse,
    GetCRLRequest,
    GetCRLResponse,
    RenewRequest,
    RenewResponse,
    WatchRequest,
    WatchResponse,
)
from tests.support.authority import ENROLL, SERVICE, Authority, csr, now, post
from tests.support.issuer import client_context
from tests.support.tools import ours, require
from tests.support.trust import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509

    from tests.support.server import Server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("enrollment"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    # Every test asks as somebody of its own, but by one address.
    with authority.serving(HANDCLASP_ENROLLMENT_RATE="60") as server:
        yield server


def asked(request: bytes, **more: str) -> dict[str, str]:
    return {"csr": base64.b64encode(request).decode(), **more}


def issued(answer: tuple[int, dict[str, Any]]) -> x509.Certificate:
    status, message = answer
    assert status == 200, message
    return parse_certificates(message["issued"]["certificateChain"].encode())[0]


def refused(answer: tuple[int, dict[str, Any]], code: str, words: str) -> None:
    _, message = answer
    assert message.get("code") == code, message
    assert words in message["message"]
    assert len(message["message"].splitlines()) == 1


def channel_of(folder: Path, port: int) -> grpc.Channel:
    read = {name: (folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")}
    credentials = grpc.ssl_channel_credentials(read["ca.crt"], read["tls.key"], read["tls.crt"])
    return grpc.secure_channel(f"localhost:{port}", credentials)


def call(channel: grpc.Channel, kind: str, name: str, response: type) -> Any:
    return getattr(channel, kind)(
        f"{SERVICE}/{name}", request_serializer=lambda m: m.to_binary(), response_deserializer=response.from_binary
    )


def test_a_caller_renews(authority: Authority, server: Server) -> None:
    """Its own identity, by gRPC and by Connect; the new pair is let in, and may renew in its turn."""
    folder = authority.client("renewing")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issued(post(folder, server.port, f"{SERVICE}/Renew", asked(csr(key=key))))
    assert Identity.from_certificate(leaf).name == "renewing@example.com"
    assert leaf.public_key() == key.public_key()
    with channel_of(folder, server.port) as channel:
        renew = call(channel, "unary_unary", "Renew", RenewResponse)
        made = renew(RenewRequest(csr=csr())).issued
    assert made is not None
    assert made.not_after.to_datetime() == parse_certificates(made.certificate_chain.encode())[0].not_valid_after_utc
    assert made.trust_bundle == (folder / "ca.crt").read_text()
    for entry in authority.audited("certificate.renewed", name="renewing"):
        assert entry["address"] in ("127.0.0.1", "::1")
    assert len(authority.audited("certificate.renewed", name="renewing")) == 2


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (csr("root"), "permission_denied", "somebody else"),
        (b"", "invalid_argument", "no certificate signing request"),
        (b"\x30\x82", "invalid_argument", "no certificate signing request"),
        (csr()[:-3] + b"abc", "invalid_argument", "signature"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n" * 2, "invalid_argument", "more than one"),
    ],
    ids=["somebody else", "empty", "broken", "forged", "two"],
)
def test_requests_that_are_refused(
    authority: Authority, server: Server, request_: bytes, code: str, words: str
) -> None:
    """A canonical code, one line, written down, and nothing issued."""
    before = authority.lifecycle.entries(now=now())
    refused(post(authority.alice, server.port, f"{SERVICE}/Renew", asked(request_)), code, words)
    assert authority.lifecycle.entries(now=now()) == before
    assert any(
        words in entry["reason"] for entry in authority.audited("enrollment.refused", identity="alice@example.com")
    )


def test_a_request_that_is_too_large(authority: Authority, server: Server) -> None:
    answer = post(authority.alice, server.port, f"{SERVICE}/Renew", asked(bytes(100_000)))
    assert answer[1]["code"] == "resource_exhausted"


def test_a_key_is_certified_once(authority: Authority, server: Server) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued(post(authority.alice, server.port, f"{SERVICE}/Renew", asked(csr(key=key))))
    refused(
        post(authority.client("thief"), server.port, f"{SERVICE}/Renew", asked(csr(key=key))),
        "invalid_argument",
        "the key was used before",
    )


def test_who_was_revoked_does_not_renew(authority: Authority, server: Server) -> None:
    """Though its connection is still open: the inventory is asked, and not the list that is published later."""
    mallory = authority.client("mallory")
    with channel_of(mallory, server.port) as channel:
        renew = call(channel, "unary_unary", "Renew", RenewResponse)
        renew(RenewRequest(csr=csr()))
        with authority.lifecycle.writing() as here:  # the row alone: the list that follows would end the connection
            revocation.revoke(here, revocation.of_name(here, "mallory", now()), Reason.KEY_COMPROMISE, now())
        with pytest.raises(grpc.RpcError) as error:
            renew(RenewRequest(csr=csr()))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "revoked" in error.value.details()
    authority.audited("enrollment.refused", identity="mallory@example.com")


def test_a_token_is_worth_one_certificate(authority: Authority, server: Server) -> None:
    token = authority.token("bob")
    assert server.port
    leaf = issued(post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token=token), certificate=False))
    assert Identity.from_certificate(leaf).name == "bob@example.com"
    again = post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token=token), certificate=False)
    refused(again, "unauthenticated", "was used already")
    authority.audited("certificate.enrolled", name="bob", requested_by="alice@host (token)")
    assert token not in authority.audit_log.read_text() + server.log()


def test_tokens_that_are_worth_nothing(authority: Authority, server: Server) -> None:
    assert server.port
    old = authority.token("carol", timedelta(seconds=1))
    time.sleep(1.1)
    for token, words in ((old, "has expired"), ("handclasp_nonsense", "is not known"), ("", "is not known")):
        answer = post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token=token), certificate=False)
        refused(answer, "unauthenticated", words)
        authority.audited("enrollment.refused", identity=None)


def test_nothing_else_is_served_without_a_certificate(authority: Authority, server: Server) -> None:
    """Not the application, not renewal, not another spelling; and no token is taken where certificates are demanded."""
    context = ssl.create_default_context(cafile=str(authority.alice / "ca.crt"))
    with httpx.Client(verify=context, trust_env=False, base_url=f"https://localhost:{authority.enroll_port}") as client:
        for path in ("/", "/whoami", f"{SERVICE}/Renew", f"{SERVICE}/GetTrustBundle", f"/{ENROLL}", f"{ENROLL}/"):
            assert client.post(path, json={}).status_code == 404, path
            assert client.get(path).status_code == 404, path
    status, _ = _raw(authority.alice, server.port, ENROLL, asked(csr(), token="x"))
    assert status == 404


def _raw(folder: Path, port: int, path: str, message: dict[str, Any]) -> tuple[int, bytes]:
    with httpx.Client(verify=client_context(folder, trust=folder / "ca.crt"), trust_env=False) as client:
        reply = client.post(f"https://localhost:{port}{path}", json=message)
        return reply.status_code, reply.content


def test_strangers_at_the_door_leave_no_trace(authority: Authority, server: Server) -> None:
    """Noise, plain HTTP, a handshake that is not finished: the log stays sound, and the next one enrolls."""
    assert server.port
    for said in (b"\x00" * 300, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", authority.enroll_port)) as sock:
            sock.sendall(said)
    token = authority.token("dave")
    issued(post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token=token), certificate=False))


def test_a_stranger_s_brackets_end_nothing(authority: Authority, server: Server) -> None:
    """JSON that is nested deep, of who has shown no certificate: refused, and the same process enrolls the next one."""
    assert server.port
    context = ssl.create_default_context(cafile=str(authority.alice / "ca.crt"))
    url = f"https://localhost:{authority.enroll_port}{ENROLL}"
    with httpx.Client(verify=context, trust_env=False) as client:
        for body in (b"[" * 60_000, b'{"token": ' + b"[" * 50_000, b'{"csr": ' + b'{"csr": ' * 7_000):
            reply = client.post(url, content=body, headers={"content-type": "application/json"})
            assert reply.json()["code"] == "invalid_argument"
        named = {"content-type": "application/json", "x-name": b"J\xf6rg"}
        reply = client.post(url, content=b"{}", headers=named)  # type: ignore[arg-type]
        assert "no certificate signing request" in reply.json()["message"]
    token = authority.token("erin")
    issued(post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token=token), certificate=False))


def test_strangers_are_told_in_a_line(authority: Authority, server: Server) -> None:
    """Also by HTTP/2 with more behind the answer than anybody reads, and gRPC where it cannot be; see `serving`."""
    assert server.port
    url = f"https://localhost:{authority.enroll_port}{ENROLL}"
    (authority.folder / "large").write_bytes(bytes(8_000_000))
    cases = [
        (["--http1.1", "--header", "content-type: application/grpc", "--data", ""], "unimplemented"),
        (["--header", "content-type: application/xml", "--data", "x"], "invalid_argument"),
        (["--request", "PUT", "--json", "{}"], "invalid_argument"),
        (["--header", "content-type: application/proto", "--data-binary", "\x7f"], "invalid_argument"),
        (["--http1.1", "--header", "content-type: application/proto", "--data-binary", "@large"], "resource_exhausted"),
        (["--http2", "--header", "content-type: application/proto", "--data-binary", "@large"], "resource_exhausted"),
    ]
    for words, code in cases:
        done = subprocess.run(
            [require("curl"), "--silent", "--cacert", authority.alice / "ca.crt", *words, url],
            cwd=authority.folder, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout)
        assert told["code"] == code, words
        assert told["message"].isprintable()
        reasons = [entry["reason"] for entry in authority.audited("enrollment.refused", identity=None)]
        assert any(reason.startswith(f"{code}: ") for reason in reasons)
    head = [require("curl"), "--silent", "--cacert", authority.alice / "ca.crt", "--head", url]
    for version in ("--http1.1", "--http2"):
        assert b" 405" in subprocess.run([*head, version], capture_output=True, timeout=60, check=True).stdout
    server.logged("a connection beside the main listener broke")


def test_grpc_takes_a_token(authority: Authority, server: Server) -> None:
    """By grpcio, who has the authority and no certificate."""
    assert server.port
    credentials = grpc.ssl_channel_credentials((authority.alice / "ca.crt").read_bytes())
    with grpc.secure_channel(f"localhost:{authority.enroll_port}", credentials) as channel:
        enroll = channel.unary_unary(ENROLL, EnrollRequest.to_binary, EnrollResponse.from_binary)
        token = authority.token("frank")
        made = enroll(EnrollRequest(token=token, csr=csr()), timeout=10).issued
        assert (
            Identity.from_certificate(parse_certificates(made.certificate_chain.encode())[0]).name
            == "frank@example.com"
        )
        with pytest.raises(grpc.RpcError) as error:
            enroll(EnrollRequest(token=token, csr=csr()), timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_chain_goes_up_to_the_anchor(authority: Authority, server: Server) -> None:
    """So that who knows its fingerprint alone can pin the server."""
    assert server.port
    done = subprocess.run(
        [require("openssl"), "s_client", "-connect", f"localhost:{authority.enroll_port}", "-showcerts"],
        input=b"", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    chain = parse_certificates(done.stdout)
    assert chain[-1] == authority.lifecycle.signer().row.anchor


def test_the_trust_and_its_changes(tmp_path: Path) -> None:
    """GetTrustBundle, GetCRL, and Watch, which tells of a change as it happens and ends when the server stops."""
    authority = Authority(tmp_path)
    with authority.serving() as server, channel_of(authority.alice, server.port) as channel:
        _, told = post(authority.alice, server.port, f"{SERVICE}/GetTrustBundle", {})
        assert (told["trustBundle"], told["generation"]) == ((authority.alice / "ca.crt").read_text(), "1")
        get_crl = call(channel, "unary_stream", "GetCRL", GetCRLResponse)
        assert list(get_crl(GetCRLRequest())) == []
        watching = call(channel, "unary_stream", "Watch", WatchResponse)(WatchRequest())
        assert next(watching).generation == 1
        authority.lifecycle.publish_lists(now=now())
        assert next(watching).generation == 2
        pieces = list(get_crl(GetCRLRequest()))
        assert b"".join(piece.lists for piece in pieces) == (authority.credential / "ca.crl").read_bytes()
        assert {piece.generation for piece in pieces} == {2}
        server.signal(signal.SIGTERM)
        assert list(watching) == []
        assert server.exit_code() == 0


def test_a_caller_that_vanishes(tmp_path: Path) -> None:
    """What the authority had begun is done and written down, though nobody waits for it; what it had not, is not."""
    authority = Authority(tmp_path)
    with authority.serving() as server, channel_of(authority.alice, server.port) as channel:
        renew = call(channel, "unary_unary", "Renew", RenewResponse)
        blocker = sqlite3.connect(tmp_path / "state" / "inventory.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(grpc.RpcError) as error:
            renew(RenewRequest(csr=csr()), timeout=0.5)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError):  # and one that is not begun
            renew(RenewRequest(csr=csr()), timeout=0.5)
        time.sleep(0.2)
        blocker.execute("ROLLBACK")
        blocker.close()
        authority.audited("certificate.renewed", name="alice")
        [refusal] = authority.audited("enrollment.refused", identity="alice@example.com")
        assert "before it was its turn" in refusal["reason"]
    assert len(authority.lifecycle.entries(now=now(), name="alice")) == 2


def test_a_deadline_that_has_passed(authority: Authority, server: Server) -> None:
    """Nothing is issued for who cannot hear of it."""
    folder = authority.client("late")
    (folder / "curl").write_text(
        f"silent\ncacert = ca.crt\ncert = tls.crt\nkey = tls.key\nurl = https://localhost:{server.port}{SERVICE}/Renew\n"
    )
    words = ["--header", "connect-timeout-ms: 0", "--json", json.dumps(asked(csr()))]
    for version in ("--http1.1", "--http2"):
        command = [require("curl"), "--config", "curl", version, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=20, check=True)
        assert json.loads(done.stdout)["code"] == "deadline_exceeded"
    authority.audited("rpc.failed", identity="late@example.com", code="deadline_exceeded")
    assert len(authority.lifecycle.entries(now=now(), name="late")) == 1


def test_who_asks_too_often(tmp_path: Path) -> None:
    """Is told to wait; others are answered; the audit log has the first refusal of a row."""
    authority = Authority(tmp_path)
    bob = authority.client("bob")
    with authority.serving(HANDCLASP_ENROLLMENT_RATE="3") as server:
        for _ in range(3):
            issued(post(authority.alice, server.port, f"{SERVICE}/Renew", asked(csr())))
        for _ in range(5):
            answer = post(authority.alice, server.port, f"{SERVICE}/Renew", asked(csr()))
            refused(answer, "resource_exhausted", "3 times in a minute")
        issued(post(bob, server.port, f"{SERVICE}/Renew", asked(csr())))
        assert len(authority.audited("enrollment.refused", identity="alice@example.com")) == 1
        for number in range(4):
            answer = post(authority.alice, authority.enroll_port, ENROLL, asked(csr(), token="x"), certificate=False)
            refused(answer, "unauthenticated" if number < 3 else "resource_exhausted", "")


@pytest.mark.slow
def test_an_authority_that_cannot_sign(tmp_path: Path) -> None:
    """The caller is told to come again, and nothing of paths; the log says why. What serves goes on serving."""
    authority = Authority(tmp_path)
    with authority.serving() as server:
        database = tmp_path / "state" / "inventory.db"
        kept = tmp_path / "kept.db"
        shutil.copy(database, kept)
        database.write_bytes(b"this is no database" * 1000)
        answer = post(authority.alice, server.port, f"{SERVICE}/Renew", asked(csr()))
        refused(answer, "unavailable", "try again later")
        assert str(tmp_path) not in answer[1]["message"]
        server.logged("the authority cannot sign")
        assert post(authority.alice, server.port, f"{SERVICE}/GetTrustBundle", {})[0] == 200


@pytest.mark.slow
def test_without_an_authority(tmp_path: Path) -> None:
    """FAILED_PRECONDITION, and what to do; and the server does not start where it should have one and has not."""
    with trusting(tmp_path, app="services.app:app") as there:
        tom = there.client("tom")
        refused(post(tom.folder, tom.port, f"{SERVICE}/Renew", asked(csr())), "failed_precondition", "--enrollment")
        for options, words in (
            (["--enrollment"], "--state DIR"),
            (["--enroll-bind", "127.0.0.1:0", "--state", str(tmp_path / "none")], " init`"),
            (["--enroll-bind", "nonsense"], "enroll_bind"),
        ):
            done = subprocess.run(
                [ours("handclasp-serve"), "--credential", str(there.credential), "--bind", "localhost:0", *options],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode in (1, 2)
            assert words in done.stderr
            assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_any_replica_renews(tmp_path: Path, postgresql_url: str) -> None:
    """Two servers, two workers each, one inventory in PostgreSQL: whoever is asked, each certificate is known once."""
    authority = Authority(tmp_path, postgresql_url)
    replica = tmp_path / "replica"
    replica.mkdir()
    with authority.serving("--workers", "2", HANDCLASP_ENROLLMENT_RATE="100") as one:
        first = authority.enroll_port
        authority.folder = replica
        shutil.copytree(tmp_path / "state", replica / "state")
        with authority.serving("--workers", "2", HANDCLASP_ENROLLMENT_RATE="100") as other:
            for number in range(10):
                server = (one, other)[number % 2]
                issued(post(authority.alice, server.port, f"{SERVICE}/Renew", asked(csr())))
            token = authority.token("erin")
            ports = (first, authority.enroll_port)
            answers = [
                post(authority.alice, port, ENROLL, asked(csr(), token=token), certificate=False) for port in ports
            ]
    assert sorted(status for status, _ in answers) == [200, 401]
    assert len(authority.lifecycle.entries(now=now(), name="alice")) == 11
