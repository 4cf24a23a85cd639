"""Whatever keeps a client from its answer, it says in one line: which side, what, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from clients import http1, http2
from clients.errors import (
    CertificateRefused,
    ClientError,
    ConnectionLost,
    CredentialProblem,
    InvalidRequest,
    ServerNotTrusted,
    TimedOut,
    Unreachable,
    WrongHostName,
    WrongProtocol,
)
from tests.support.admin import free_port
from tests.support.issuer import CLIENT, SERVER, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.server import Server

CLIENTS = {"http1": http1, "http2": http2}
LOCALHOST = (x509.DNSName("localhost"),)


class Stranger:
    """A server of Python's own `ssl` module: it shakes hands as told, then does what it is told to with the line."""

    def __init__(self, context: ssl.SSLContext | None, answer: Callable[[Any], None]) -> None:
        self._context, self._answer = context, answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.alpn: list[str | None] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError):
                line.settimeout(30)
                if self._context is None:
                    self._answer(line)
                    continue
                with self._context.wrap_socket(line, server_side=True) as tls:
                    self.alpn.append(tls.selected_alpn_protocol())
                    self._answer(tls)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@pytest.fixture
def stranger(credentials: Path, tmp_path: Path, issuer: Issuer) -> Iterator[Callable[..., Stranger]]:
    """Start a server that presents a certificate made for the purpose: `stranger(san=..., alpn=..., answer=...)`."""
    started: list[Stranger] = []

    def start(
        *,
        by: Issuer = issuer,
        alpn: tuple[str, ...] = ("h2", "http/1.1"),
        answer: Callable[[Any], None] = lambda line: line.recv(1),
        tls: bool = True,
        **certificate: Any,
    ) -> Stranger:
        context = None
        if tls:
            issued = by.issue("stranger", **{"san": LOCALHOST, "purposes": (SERVER,), **certificate})
            folder = issued.save(tmp_path / f"stranger-{len(started)}")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
            context.load_verify_locations(credentials / "alice" / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
            if alpn:
                context.set_alpn_protocols(list(alpn))
        started.append(Stranger(context, answer))
        return started[-1]

    yield start
    for server in started:
        server.close()


def failure(which: str, port: int, folder: Path, *, host: str = "localhost", timeout: float = 30.0) -> ClientError:
    """What the client raises, the same from the synchronous and the asynchronous one."""
    module: Any = CLIENTS[which]
    url = f"https://{host}:{port}"

    async def ask() -> None:
        async with module.AsyncClient(url, folder, timeout=timeout) as client:
            await client.greet()

    with pytest.raises(ClientError) as raised, module.Client(url, folder, timeout=timeout) as client:
        client.greet()
    with pytest.raises(ClientError) as again:
        asyncio.run(ask())
    assert type(raised.value) is type(again.value)
    assert "\n" not in str(raised.value)
    return raised.value


both = pytest.mark.parametrize("which", CLIENTS)


@both
@pytest.mark.parametrize(
    ("certificate", "error", "words"),
    [
        ({"by": Issuer("Foreign CA")}, ServerNotTrusted, "not vouched for by our ca.crt"),
        ({"by": Issuer()}, ServerNotTrusted, "not vouched for by our ca.crt"),
        ({"san": (x509.DNSName("other.example.com"),)}, WrongHostName, "other names"),
        ({"san": ()}, WrongHostName, "other names"),
        ({"valid_from": timedelta(days=-2)}, ServerNotTrusted, "expired"),
        ({"valid_from": timedelta(days=1)}, ServerNotTrusted, "not yet valid"),
        ({"purposes": (CLIENT,)}, ServerNotTrusted, "purpose"),
        ({"purposes": ()}, ServerNotTrusted, "serverAuth"),
        ({"purposes": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, ServerNotTrusted, "serverAuth|purpose"),
    ],
    ids=["foreign", "same name", "other host", "CN only", "expired", "early", "client's", "no purpose", "any purpose"],
)
def test_a_server_that_is_not_trusted(
    stranger: Callable[..., Stranger],
    credentials: Path,
    which: str,
    certificate: dict[str, Any],
    error: type[ClientError],
    words: str,
) -> None:
    """Its certificate is the wrong one: nothing is sent to it, and the line says in which way."""
    read: list[bytes] = []
    server = stranger(answer=lambda line: read.append(line.recv(1)), **certificate)
    raised = failure(which, server.port, credentials / "alice")
    assert type(raised) is error
    assert re.search(words, str(raised), re.IGNORECASE)
    assert not any(read)


@both
@pytest.mark.parametrize(
    ("certificate", "alert", "words"),
    [
        ({"valid_from": timedelta(days=-2)}, "certificate expired", "handclasp-pki rotate"),
        ({"by": Issuer("Foreign CA")}, "unknown CA", "does not trust the authority"),
        ({"san": ()}, "bad certificate", "refused our certificate"),
    ],
    ids=["expired", "foreign", "nameless"],
)
def test_our_certificate_is_refused(
    server: Server,
    issuer: Issuer,
    tmp_path: Path,
    which: str,
    certificate: dict[str, Any],
    alert: str,
    words: str,
) -> None:
    """The alert of the server in words, every time: in TLS 1.3 it comes with the first read."""
    by = certificate.get("by", issuer)
    rest = {name: value for name, value in certificate.items() if name != "by"}
    folder = by.issue(trust=issuer.certificate, **rest).save(tmp_path / "us")
    raised = failure(which, server.port, folder)
    assert isinstance(raised, CertificateRefused)
    assert raised.alert == alert
    assert words in str(raised)


@both
def test_nobody_listens(credentials: Path, which: str) -> None:
    assert "nobody listens" in str(failure(which, free_port(), credentials / "alice", host="127.0.0.1"))


@both
def test_the_host_is_not_known(credentials: Path, which: str) -> None:
    raised = failure(which, 443, credentials / "alice", host="nowhere.invalid")
    assert isinstance(raised, Unreachable)


@both
def test_a_server_that_is_silent(stranger: Callable[..., Stranger], credentials: Path, which: str) -> None:
    """No answer within `timeout`; the same where the handshake itself is never answered."""

    def read_on(line: Any) -> None:
        while line.recv(65536):
            pass

    for tls in (True, False):
        server = stranger(tls=tls, answer=read_on)
        assert isinstance(failure(which, server.port, credentials / "alice", timeout=0.3), TimedOut)


@both
def test_a_server_without_tls(stranger: Callable[..., Stranger], credentials: Path, which: str) -> None:
    server = stranger(tls=False, answer=lambda line: line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    raised = failure(which, server.port, credentials / "alice")
    assert isinstance(raised, WrongProtocol)
    assert "no TLS" in str(raised)


@both
def test_a_server_that_goes_away(stranger: Callable[..., Stranger], credentials: Path, which: str) -> None:
    """Closed behind the handshake without a word: most likely a refusal whose alert was lost."""
    raised = failure(which, stranger(answer=lambda _: None).port, credentials / "alice")
    assert isinstance(raised, ConnectionLost)
    assert "refuses our certificate" in str(raised)


@pytest.mark.parametrize("alpn", [("http/1.1",), ()], ids=["HTTP/1.1 only", "no ALPN"])
def test_http2_does_not_fall_back(stranger: Callable[..., Stranger], credentials: Path, alpn: tuple[str, ...]) -> None:
    """A server of HTTP/1.1 is told so; not a byte of a request is sent to it."""
    read: list[bytes] = []
    server = stranger(alpn=alpn, answer=lambda line: read.append(line.recv(1)))
    raised = failure("http2", server.port, credentials / "alice")
    assert isinstance(raised, WrongProtocol)
    assert "does not speak HTTP/2" in str(raised)
    assert not any(read)


def test_http1_never_offers_http2(stranger: Callable[..., Stranger], credentials: Path) -> None:
    """A server that prefers h2 agrees to HTTP/1.1; one that has nothing else is told."""
    server = stranger(alpn=("h2", "http/1.1"), answer=lambda _: None)
    failure("http1", server.port, credentials / "alice")
    assert set(server.alpn) == {"http/1.1"}


def test_a_redirect_is_not_followed(stranger: Callable[..., Stranger], credentials: Path) -> None:
    """Our certificate is for the server that was named."""

    def move(line: Any) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 302 Found\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\n\r\n")

    server = stranger(answer=move)
    with http1.Client(f"https://localhost:{server.port}", credentials / "alice") as client:
        assert client.get("/").status == 302


@both
def test_the_environment_changes_nothing(
    stranger: Callable[..., Stranger], server: Server, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither hostile roots nor a proxy: the stranger stays one, and our server is reached."""
    foreign = Issuer("Foreign CA")
    roots = foreign.issue().save(tmp_path / "foreign") / "ca.crt"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(roots))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(failure(which, stranger(by=foreign).port, server.client), ServerNotTrusted)
    module: Any = CLIENTS[which]
    with module.Client(f"https://localhost:{server.port}", server.client) as client:
        assert client.get("/").status == 200


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://localhost:8443", "/"),
        ("localhost:8443", "/"),
        ("https://alice@localhost:8443", "/"),
        ("https://localhost:8443/api", "/"),
        ("https://localhost:many", "/"),
        ("https://", "/"),
        ("https://localhost:8443", "https://evil.example/"),
        ("https://localhost:8443", "whoami"),
        ("https://localhost:8443", "/a b"),
        ("https://localhost:8443", "/a\r\nx: y"),
    ],
)
def test_a_request_that_makes_no_sense(credentials: Path, url: str, path: str) -> None:
    with pytest.raises(InvalidRequest), http1.Client(url, credentials / "alice") as client:
        client.get(path)


def test_a_path_cannot_lead_elsewhere(server: Server) -> None:
    """`//host/` is a path on our server, and not another server."""
    with http2.Client(f"https://localhost:{server.port}", server.client) as client:
        assert client.get("//evil.example/").status in (200, 404)


def test_our_own_credential_is_the_problem(credentials: Path, tmp_path: Path, issuer: Issuer) -> None:
    """A folder that is missing, a key that others can read, a server's certificate: said before anything is sent."""
    loose = issuer.issue().save(tmp_path / "loose")
    (loose / "tls.key").chmod(0o644)
    for folder, words in (
        (tmp_path / "missing", "does not exist"),
        (loose, "chmod 600"),
        (credentials / "localhost", "not a client's"),
    ):
        with pytest.raises(CredentialProblem, match=words):
            http2.Client("https://localhost:1", folder)


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDCLASP_")}
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**clean, **environment},
    )


@both
def test_the_command_says_it_in_one_line(server: Server, credentials: Path, which: str) -> None:
    """Exit 1 for what went wrong, 2 for what makes no sense; stdout stays empty."""
    module, alice, url = f"clients.{which}", credentials / "alice", f"https://localhost:{server.port}"
    cases = [
        (("greet", "--url", "https://localhost:1", "--credential", alice), 1, "nobody listens"),
        (("greet", "--url", url, "--credential", credentials / "localhost"), 1, "not a client's"),
        (("get", "/status/404", "--url", url, "--credential", alice), 1, "answered 404"),
        (("greet", "--url", "http://localhost", "--credential", alice), 2, "https"),
        (("greet", "--url", url), 2, "--credential"),
        (("get", "nope", "--url", url, "--credential", alice), 2, "begins with '/'"),
        (("--bogus",), 2, "No such option"),
        (("greet", "--repeat", "0"), 2, "--repeat"),
    ]
    for words, code, message in cases:
        done = command(module, *words)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"handclasp-{which}: error: ")
