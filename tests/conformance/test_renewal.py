"""Credentials that renew themselves: sessions take the new one up, nothing under way is lost, failures are said."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes

from clients import http1, http2
from clients.bootstrap import enroll
from clients.enrolling import Application
from clients.errors import (
    BadResponse,
    ClientError,
    CredentialProblem,
    InvalidRequest,
    RPCError,
    ServerNotTrusted,
    Unreachable,
)
from clients.pools import LOOK
from clients.renewal import DUE, SPREAD, AsyncAutoRenew, AutoRenew, Schedule
from clients.rpc import Method
from clients.tls import HTTPVersion
from pki import succession
from pki.credential import Credential, load_folder
from pki.crl_signing import Reason
from services.contracts.grpc.health.v1.health_pb import HealthCheckRequest, HealthCheckResponse
from services.contracts.handclasp.enrollment.v1.enrollment_pb import Issued, RenewResponse
from tests.soak.renewal import run
from tests.support.authority import Authority, now
from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.tools import ours
from tests.support.trust import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.server import Server

WATCH = Method.of("grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("renewal"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with authority.serving(HANDCLASP_ENROLLMENT_RATE="100") as server:
        yield server


def url(server: Server) -> str:
    return f"https://localhost:{server.port}"


def serial_in(folder: Path) -> str:
    return f"{Credential.load(folder).leaf.serial_number:x}"


@pytest.mark.parametrize("package", [http1, http2], ids=["http1", "http2"])
def test_a_session_renews_and_takes_it_up(authority: Authority, server: Server, package: Any) -> None:
    """Itself and every other session on the folder; the key is another one; what the folder trusts is there."""
    folder = authority.client(f"renews-{package.__name__[-1]}")
    before = Credential.load(folder)
    with package.Client(url(server), folder) as one, package.Client(url(server), folder) as other:
        for session in (one, other):
            assert session.whoami().serial == f"{before.leaf.serial_number:x}"
        one.renew()
        after, trust = load_folder(folder)
        assert after.leaf.public_key() != before.leaf.public_key()
        assert trust.anchors == authority.lifecycle.trust().anchors
        time.sleep(LOOK)
        for session in (one, other):
            assert session.whoami().serial == f"{after.leaf.serial_number:x}"


@pytest.mark.parametrize("package", [http1, http2], ids=["http1", "http2"])
def test_nothing_under_way_is_lost(authority: Authority, server: Server, package: Any) -> None:
    """A stream goes on over the connection of the old certificate while new requests use the new one."""
    folder = authority.client(f"streams-{package.__name__[-1]}")

    async def main() -> None:
        async with package.AsyncClient(url(server), folder) as session:
            async with aclosing(session.server_stream(WATCH, HealthCheckRequest())) as watching:
                await anext(watching)
                before = serial_in(folder)
                await session.renew()
                await asyncio.sleep(LOOK)
                assert (await session.whoami()).serial == serial_in(folder) != before
                next_one = asyncio.ensure_future(anext(watching))
                done, _ = await asyncio.wait([next_one], timeout=1.5)
                assert not done, "it is still open, and nothing was to be said"
                assert len(session._pools.all()) == 2
                next_one.cancel()
                await asyncio.wait([next_one])
            await session.whoami()
            assert len(session._pools.all()) == 1, "the pool before is closed once nothing is under way in it"

    asyncio.run(main())


def test_a_folder_that_cannot_be_used_changes_nothing(
    authority: Authority, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    folder = authority.client("broken")
    with http2.Client(url(server), folder) as session:
        session.whoami()
        kept = folder.with_name("kept")
        shutil.move(folder, kept)
        folder.mkdir()
        (folder / "tls.crt").write_text("no certificate")
        time.sleep(LOOK)
        for _ in range(3):
            assert session.whoami().name == "broken@example.com"
        assert len([record for record in caplog.records if "goes on" in record.getMessage()]) == 1
        shutil.rmtree(folder)
        shutil.move(kept, folder)
        session.renew()
        time.sleep(LOOK)
        assert session.whoami().serial == serial_in(folder)


def test_a_new_authority_reaches_those_who_renew(tmp_path: Path) -> None:
    """Staged, it is in the bundle of the next renewal; active, it signs the one behind."""
    authority = Authority(tmp_path)
    with authority.serving() as server, http2.Client(url(server), authority.alice) as session:
        with authority.lifecycle.writing() as here:
            succession.stage(here, now())
        session.renew()
        assert len(load_folder(authority.alice)[1]) == 2
        with authority.lifecycle.writing() as here:
            succession.activate(here, now())
        session.renew()
        assert authority.lifecycle.signer().row.certificate in load_folder(authority.alice)[1]
        time.sleep(LOOK)
        assert session.whoami().serial == serial_in(authority.alice)


def test_who_is_refused_keeps_what_there_is(authority: Authority, server: Server) -> None:
    from pki import revocation

    folder = authority.client("revoked")
    before = serial_in(folder)
    with http2.Client(url(server), folder) as session:
        with authority.lifecycle.writing() as here:
            revocation.revoke(here, revocation.of_name(here, "revoked", now()), Reason.KEY_COMPROMISE, now())
        with pytest.raises(RPCError, match="permission denied: the certificate was revoked"):
            session.renew()
    assert serial_in(folder) == before


def test_an_answer_of_somebody_else_is_not_used(authority: Authority) -> None:
    """Of other names, for another key, of no authority that is named, or nothing at all."""
    bob, alice = Credential.load(authority.client("someone")), Credential.load(authority.alice)
    trust = authority.lifecycle.trust().to_pem().decode()
    application = Application()
    empty = RenewResponse().to_binary()
    other_key = RenewResponse(issued=Issued(certificate_chain=bob.chain_pem().decode(), trust_bundle=trust)).to_binary()
    for body in (b"\xff\xff", empty, other_key):
        with pytest.raises(BadResponse):
            application.renewed(body, alice)
    with pytest.raises(BadResponse, match="somebody else"):
        _issued_to(application, authority, "someone-else", alice)


def _issued_to(application: Application, authority: Authority, name: str, before: Credential) -> None:
    from pki.csr import SigningRequest
    from pki.enrolling import Enrolling
    from pki.pem import to_pem
    from services.contracts.handclasp.enrollment.v1.enrollment_pb import EnrollRequest

    token = authority.token(name)
    request = EnrollRequest.from_binary(application.enrollment(token))
    with Enrolling(authority.lifecycle) as enrolling:
        made = enrolling.enroll(SigningRequest.parse(request.csr), token, now=now())
    issued = Issued(certificate_chain=to_pem(made.chain).decode(), trust_bundle=made.trust.to_pem().decode())
    application.renewed(RenewResponse(issued=issued).to_binary(), before)


# When.


def test_the_schedule() -> None:
    """Due at two thirds, a little earlier by chance; later and later after failures; loud near the end."""
    begin = datetime(2026, 11, 24, tzinfo=UTC)
    life = timedelta(days=6)
    dues = [Schedule(begin, begin + life).due for _ in range(200)]
    assert begin + life * (DUE - SPREAD) <= min(dues) < max(dues) <= begin + life * DUE
    assert max(dues) - min(dues) > life * SPREAD / 2
    schedule, at = Schedule(begin, begin + life), begin + life * DUE
    pauses = []
    for _ in range(12):
        schedule.failed(at)
        pauses.append((schedule.due - at).total_seconds())
    assert 0 < pauses[0] < life.total_seconds() / 200
    assert life.total_seconds() / 24 <= pauses[-1] <= life.total_seconds() / 12
    assert not schedule.is_loud(at)
    assert schedule.is_loud(begin + life * 0.9)
    fresh = Schedule(begin - timedelta(minutes=1), begin + timedelta(seconds=10))
    fresh.renewed(begin)
    assert fresh.due == begin + timedelta(seconds=5), "though two thirds of it were over when it was made"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["thread", "task"])
def test_it_renews_in_time(tmp_path: Path, kind: str) -> None:
    """Again and again; and takes up what somebody else has put there."""
    authority = Authority(tmp_path)
    with authority.serving("--enrollment-lifetime", "10s", HANDCLASP_ENROLLMENT_RATE="100") as server:
        with http2.Client(url(server), authority.alice) as session:
            session.renew()

        def seen() -> int:
            return len(authority.audited("certificate.renewed", name="alice"))

        if kind == "thread":
            with http2.Client(url(server), authority.alice) as session, AutoRenew(session):
                eventually(lambda: seen() >= 3, 20)
        else:

            async def main() -> None:
                async with http2.AsyncClient(url(server), authority.alice) as session, AsyncAutoRenew(session):
                    while seen() < 3:
                        await asyncio.sleep(0.1)

            asyncio.run(asyncio.wait_for(main(), 60))
        count = seen()
        time.sleep(1)
        assert seen() == count, "it has stopped"
        assert Credential.load(authority.alice).leaf.not_valid_after_utc > now()


def test_failures_are_said_and_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No server: warnings, then errors near the end, ever more slowly. When there is one again, it is renewed."""
    caplog.set_level(logging.INFO, "handclasp.renewal")
    authority = Authority(tmp_path)

    def said(words: str, level: int) -> int:
        return sum(words in record.getMessage() and record.levelno >= level for record in caplog.records)

    with authority.serving("--enrollment-lifetime", "10s") as server:
        with http2.Client(url(server), authority.alice) as session:
            session.renew()
        server.process.send_signal(signal.SIGSTOP)
        try:
            with http2.Client(url(server), authority.alice, timeout=0.2) as impatient, AutoRenew(impatient):
                eventually(lambda: said("was not renewed", logging.ERROR) >= 2, 15)
                server.process.send_signal(signal.SIGCONT)
                eventually(lambda: said("renewed /", logging.INFO) == 1, 15)
        finally:
            server.process.send_signal(signal.SIGCONT)
    failed = [record.getMessage() for record in caplog.records if "was not renewed" in record.getMessage()]
    assert 2 <= len(failed) < 30
    assert all("trying again in" in message and "ends in" in message for message in failed)


@pytest.mark.slow
def test_a_minute_s_certificate_under_load(tmp_path: Path) -> None:
    """In small: `python -m tests.soak.renewal` does it for five minutes."""
    outcomes, serials = run(tmp_path, 15, 10, 4)
    assert set(outcomes) == {"answered"}, outcomes
    assert len(serials) >= 2


# A first credential.


def test_enrolling(tmp_path: Path, authority: Authority, server: Server) -> None:
    """By token and fingerprint alone; the folder is as any other, and renews."""
    token, folder = authority.token("newcomer"), tmp_path / "newcomer"
    for version in HTTPVersion:
        token, folder = authority.token(f"new-{version.name}"), tmp_path / version.name
        enroll(f"https://localhost:{authority.enroll_port}", token, authority.fingerprint(), folder, version)
        with http2.Client(url(server), folder) as session:
            assert session.whoami().name == f"new-{version.name}@example.com".lower().replace("http", "HTTP")
            session.renew()
        assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600


def test_enrolling_tells_nobody_else_the_token(tmp_path: Path, authority: Authority, server: Server) -> None:
    """A wrong fingerprint, another server, another host name: refused before the token leaves, and it is still good."""
    token, folder = authority.token("careful"), tmp_path / "careful"
    right, port = authority.fingerprint(), authority.enroll_port
    other = Authority(tmp_path / "other") if (tmp_path / "other").mkdir() is None else authority
    with other.serving():
        cases: list[tuple[str, str, type[ClientError], str]] = [
            (f"https://localhost:{port}", other.fingerprint(), ServerNotTrusted, "token was not sent"),
            (f"https://localhost:{other.enroll_port}", right, ServerNotTrusted, "token was not sent"),
            (f"https://127.0.0.1:{port}", right, ServerNotTrusted, "for other names"),
            (f"https://localhost:{port}", "abc", InvalidRequest, "no SHA-256"),
            (f"https://localhost:{port}", Credential.load(authority.credential).leaf.fingerprint(hashes.SHA256()).hex(),
             ServerNotTrusted, "no authority with this fingerprint"),
            ("https://localhost:1", right, Unreachable, "no connection"),
        ]  # fmt: skip
        for where, fingerprint, error, words in cases:
            with pytest.raises(error, match=words):
                enroll(where, token, fingerprint, folder, HTTPVersion.HTTP2)
            assert not folder.exists()
    with pytest.raises(CredentialProblem, match="holds a credential already"):
        enroll(f"https://localhost:{port}", token, right, authority.alice, HTTPVersion.HTTP2)
    assert token not in other.audit_log.read_text()
    enroll(f"https://localhost:{port}", token, right, folder, HTTPVersion.HTTP2)
    with pytest.raises(RPCError, match="was used already"):
        enroll(f"https://localhost:{port}", token, right, tmp_path / "again", HTTPVersion.HTTP2)
    assert server.port


def test_a_chain_that_merely_shows_the_authority(tmp_path: Path, authority: Authority) -> None:
    """Somebody between sends the right authority's certificate along, which is public: nothing is told to it."""
    other = Authority(tmp_path)
    chain = tmp_path / "chain.crt"
    parts = (other.credential / "tls.crt", other.credential / "ca.crt", authority.alice / "ca.crt")
    chain.write_bytes(b"".join(part.read_bytes() for part in parts))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, other.credential / "tls.key")
    heard: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        for _ in range(2):
            plain, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as tls:
                heard.append(tls.recv(65_536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        where = f"https://localhost:{listener.getsockname()[1]}"
        with pytest.raises(ServerNotTrusted):
            enroll(where, "handclasp_secret", authority.fingerprint(), tmp_path / "new", HTTPVersion.HTTP2)
        thread.join(10)
    assert not b"".join(heard)
    assert not (tmp_path / "new").exists()


def handclasp(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP")} | more
    return subprocess.run(
        [ours("handclasp-http2"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


@pytest.mark.slow
def test_the_commands(tmp_path: Path, authority: Authority, server: Server) -> None:
    where, pin = f"https://localhost:{authority.enroll_port}", authority.fingerprint()
    out = tmp_path / "dora"
    (tmp_path / "token").write_text(authority.token("dora") + "\n")
    done = handclasp("enroll", "--url", where, "--fingerprint", pin, "--token-file", tmp_path / "token", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"enrolled {out}: CN=dora, serial {serial_in(out)}, valid until")
    done = handclasp("renew", "--url", url(server), "--credential", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"renewed {out}: CN=dora, serial {serial_in(out)}")
    token = authority.token("emil")
    words = ["enroll", "--url", where, "--fingerprint", pin, "--out", tmp_path / "emil", "--json"]
    done = handclasp(*words, HANDCLASP_TOKEN=token)
    told = json.loads(done.stdout)
    assert (told["action"], told["subject"]) == ("enrolled", "CN=emil")
    done = handclasp("renew", "--url", url(server), "--credential", tmp_path / "emil", "--json")
    assert json.loads(done.stdout) | {"serial": serial_in(tmp_path / "emil"), "action": "renewed"} == json.loads(
        done.stdout
    )
    # Where it was not said: where the other commands look for it.
    (tmp_path / "token").write_text(authority.token("fritz"))
    words = ["enroll", "--url", where, "--fingerprint", pin, "--token-file", tmp_path / "token"]
    done = handclasp(*words, HANDCLASP_CREDENTIAL=str(tmp_path / "fritz"))
    assert done.stdout.startswith(f"enrolled {tmp_path / 'fritz'}: CN=fritz")
    done = handclasp("whoami", "--json", "--url", url(server), HANDCLASP_CREDENTIAL=str(tmp_path / "fritz"))
    assert json.loads(done.stdout)["name"] == "fritz@example.com"
    (tmp_path / "token").write_text(authority.token("gerd"))
    done = subprocess.run([ours("handclasp-http2"), *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("enrolled credential: CN=gerd")
    assert serial_in(tmp_path / "credential")
    for bad, code in (
        (["enroll", "--url", where, "--fingerprint", pin, "--token", "x", "--out", ""], 2),
        (["enroll", "--url", where, "--fingerprint", pin, "--token", "x", "--out", tmp_path / "x"], 1),
        (["enroll", "--url", where, "--fingerprint", pin, "--out", tmp_path / "x"], 2),
        (["enroll", "--url", where, "--fingerprint", "x", "--token", "x", "--out", tmp_path / "x"], 2),
        (["enroll", "--url", where, "--fingerprint", pin, "--token", "x", "--token-file", "y", "--out", "x"], 2),
        (["enroll", "--url", where, "--fingerprint", pin, "--token-file", tmp_path / "none", "--out", "x"], 2),
        (["renew", "--url", url(server)], 2),
        (["renew", "--daemon", "--json", "--url", url(server), "--credential", out], 2),
        (["renew", "--url", "https://localhost:1", "--credential", out], 1),
    ):
        done = handclasp(*bad)
        assert done.returncode == code, done
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("handclasp-http2: error: ")
    assert not (tmp_path / "x").exists()


def test_a_policy_that_does_not_mention_it(tmp_path: Path) -> None:
    """Says no, in words; by a rule of its own it says yes."""
    authority = Authority(tmp_path)
    policy = tmp_path / "policy.toml"
    words = ("renew", "--credential", authority.alice)
    for rule, code in (('path = "/whoami"', 1), ('rpc = "handclasp.enrollment.v1.EnrollmentService/Renew"', 0)):
        policy.write_text(f'[[rule]]\n{rule}\nallow = ["*"]\n')
        with authority.serving("--policy", str(policy)) as server:
            done = handclasp(*words, "--url", url(server))
            assert done.returncode == code, done
            assert ("permission denied: the server answered 403: its policy" in done.stderr) == bool(code)


@pytest.mark.slow
def test_the_daemon(tmp_path: Path) -> None:
    """For what only reads files: here a folder is renewed again and again, until SIGTERM."""
    authority = Authority(tmp_path)
    with authority.serving("--enrollment-lifetime", "10s") as server:
        handclasp("renew", "--url", url(server), "--credential", authority.alice)
        words = [
            ours("handclasp-http2"),
            "renew",
            "--daemon",
            "--url",
            url(server),
            "--credential",
            str(authority.alice),
        ]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
            eventually(lambda: len(authority.audited("certificate.renewed", name="alice")) >= 3, 25)
            daemon.send_signal(signal.SIGTERM)
            out, err = daemon.communicate(timeout=30)
        assert (daemon.returncode, err) == (0, "")
        assert out.startswith("renewing ")
        assert out.count("renewed ") >= 2


def test_without_enrollment(tmp_path: Path) -> None:
    """The command says so, in one line; a stranger is refused before it can ask."""
    with trusting(tmp_path, app="services.app:app") as there:
        tom, where = there.client("tom"), f"https://localhost:{there.server.port}"
        done = handclasp("renew", "--url", where, "--credential", tom.folder)
        assert done.returncode == 1
        assert "failed precondition: this server has no authority" in done.stderr
        stranger = there.client("stranger", issuer=Issuer())
        done = handclasp("renew", "--url", where, "--credential", stranger.folder)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


def test_json_of_whoami_is_the_renewed_one(authority: Authority, server: Server) -> None:
    folder = authority.client("shown")
    handclasp("renew", "--url", url(server), "--credential", folder)
    shown = json.loads(handclasp("whoami", "--json", "--url", url(server), "--credential", folder).stdout)
    assert shown["serial"] == serial_in(folder)
