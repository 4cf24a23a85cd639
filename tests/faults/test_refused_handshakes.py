"""A handshake that is refused ends in the alert that says why, in one log line, and before any request is seen."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
import warnings
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.issuer import ALICE, SERVER, Issued, Issuer, client_context
from tests.support.wire import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server

TLS10, TLS11, TLS12, TLS13 = (getattr(ssl.TLSVersion, f"TLSv1{minor}") for minor in ("", "_1", "_2", "_3"))
NUL = x509.RFC822Name._init_without_validation("alice@example.com\0.evil.example")

A_CERTIFICATE_ALERT = {"bad_certificate", "unsupported_certificate", "certificate_unknown"}
"""What names the client's certificate as the cause (RFC 8446 section 6.2), where OpenSSL leaves it to us."""

CERTIFICATES: dict[str, tuple[Callable[[Issuer], Issued], set[str], str]] = {
    "expired": (
        lambda ca: ca.issue(valid_from=timedelta(days=-2)),
        {"certificate_expired"},
        "cert(ificate)? has expired",
    ),
    "not yet valid": (lambda ca: ca.issue(valid_from=timedelta(days=1)), {"bad_certificate"}, "not yet valid"),
    "foreign CA": (lambda _: Issuer("Foreign CA").issue(), {"unknown_ca"}, "issuer"),
    "same-named CA with another key": (lambda _: Issuer().issue(), {"unknown_ca"}, "issuer"),
    "server-only purpose": (lambda ca: ca.issue(purposes=(SERVER,)), A_CERTIFICATE_ALERT, "purpose"),
    "no purpose": (lambda ca: ca.issue(purposes=()), A_CERTIFICATE_ALERT, "clientAuth"),
    "any purpose": (
        lambda ca: ca.issue(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
        A_CERTIFICATE_ALERT,
        "purpose|clientAuth",
    ),
    "NUL in the SAN": (lambda ca: ca.issue(san=(NUL,)), A_CERTIFICATE_ALERT, "NUL"),
    "NUL in the second entry of the SAN": (lambda ca: ca.issue(san=(ALICE, NUL)), A_CERTIFICATE_ALERT, "NUL"),
    "CN only": (lambda ca: ca.issue(san=()), A_CERTIFICATE_ALERT, "names nobody"),
    "weak key": (
        lambda ca: ca.issue(key=rsa.generate_private_key(65537, 1024)),
        A_CERTIFICATE_ALERT,
        "key",
    ),
    "leaf with keyCertSign": (lambda ca: ca.issue(signs_certificates=True), A_CERTIFICATE_ALERT, ""),
    "CA certificate": (lambda ca: ca.issue(ca=True, signs_certificates=True), A_CERTIFICATE_ALERT, "authority|CA"),
}


def lenient(credentials: Path, credential: Path | None, version: ssl.TLSVersion = TLS13) -> ssl.SSLContext:
    """A client that presents anything."""
    context = client_context(credential, trust=credentials / "alice/ca.crt", alpn=["http/1.1"])
    context.maximum_version = version
    return context


def told(port: int, context: ssl.SSLContext, request: bytes = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n") -> str:
    """What the server says to a client whose request leaves in one write with its Finished: an alert, or `served`.

    The client reads nothing before all of it is sent, as a busy client may.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:

        def receive() -> None:
            got = sock.recv(65_536)
            incoming.write(got) if got else incoming.write_eof()

        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    receive()
            tls.write(request)
            sock.sendall(outgoing.read())
            while True:
                try:
                    return "served" if tls.read(65_536).startswith(b"HTTP/1.1 200") else "closed"
                except ssl.SSLWantReadError:
                    receive()
        except ssl.SSLEOFError:
            return "closed"
        except ssl.SSLError as error:
            words = error.reason or str(error).partition(" (")[0]  # Python has no name for no_application_protocol
            with suppress(ConnectionResetError):
                while sock.recv(65_536):
                    pass
                return words.lower().replace(" ", "_").rpartition("alert_")[2]
            return f"{words}, and a reset, which overtakes it on a longer way"


def refused(server: Server, after: int) -> str:
    """The one line about the refused handshake."""
    (line,) = server.logged("handshake refused", after)
    return line


@pytest.mark.parametrize("version", [TLS13, TLS12], ids=lambda version: version.name)
@pytest.mark.parametrize("case", CERTIFICATES)
def test_bad_certificate(
    case: str, version: ssl.TLSVersion, server: Server, issuer: Issuer, credentials: Path, tmp_path: Path, tag: str
) -> None:
    """The alert names the fault, the log gives the reason once, and the application sees nothing of the request."""
    make, alerts, reason = CERTIFICATES[case]
    context = lenient(credentials, make(issuer).save(tmp_path / "bad"), version)
    after = server.log_end()
    alert = told(server.port, context, f"GET /?tag={tag} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    assert alert in alerts
    line = refused(server, after)
    assert re.search(f"reason=.*({reason})", line)
    assert "presented_subject" in line
    assert "presented_serial" in line
    assert server.stats(tag)["seen"] == 0


@pytest.mark.parametrize(("version", "alert"), [(TLS13, "certificate_required"), (TLS12, "handshake_failure")])
def test_no_certificate(server: Server, credentials: Path, version: ssl.TLSVersion, alert: str) -> None:
    """A client without a certificate hears so, in TLS 1.3 by an alert of its own."""
    after = server.log_end()
    assert told(server.port, lenient(credentials, None, version)) == alert
    assert "did not return a certificate" in refused(server, after)


@pytest.mark.parametrize("version", [TLS13, TLS12], ids=lambda version: version.name)
def test_good_certificate(server: Server, credentials: Path, version: ssl.TLSVersion) -> None:
    """The same client with a sound certificate is served: the refusals above are for their faults alone."""
    assert told(server.port, lenient(credentials, credentials / "alice", version)) == "served"


def test_alert_is_never_lost_to_a_reset(server: Server, issuer: Issuer, credentials: Path, tmp_path: Path) -> None:
    """The client that sends 100 kB right behind its Finished gets the alert and no reset, fifty times of fifty."""
    context = lenient(credentials, issuer.issue(valid_from=timedelta(days=-2)).save(tmp_path / "bad"))
    request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000)
    assert [told(server.port, context, request) for _ in range(50)] == ["certificate_expired"] * 50


def test_certificate_that_cannot_be_parsed(server: Server, issuer: Issuer, credentials: Path, tmp_path: Path) -> None:
    """A certificate that OpenSSL reads and Python's parser does not is refused like another: by an alert, in a line.

    Its version is 49, its signature wrong: nobody needs a trusted authority to send it.
    """
    issued = issuer.issue()
    folder = issued.save(tmp_path / "bad")
    der = bytearray(ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text()))
    at = der.index(b"\xa0\x03\x02\x01\x02") + 4
    der[at] = 48
    (folder / "tls.crt").write_text(ssl.DER_cert_to_PEM_cert(bytes(der)))
    after = server.log_end()
    assert told(server.port, lenient(credentials, folder)) not in {"served", "closed"}
    refused(server, after)


@pytest.mark.parametrize(
    ("limits", "alert", "reason"),
    [
        ({"minimum_version": TLS10, "maximum_version": TLS11}, "protocol_version", "protocol"),
        ({"maximum_version": TLS12, "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"}, "handshake_failure", "cipher"),
        ({"maximum_version": TLS12, "ciphers": "AES256-GCM-SHA384"}, "handshake_failure", "cipher"),
        ({"alpn": ["spdy/3", "h3"]}, "no_application_protocol", "spdy/3, h3"),
        ({"alpn": ["x\r\n[info] forged"]}, "no_application_protocol", "no common application protocol"),
    ],
    ids=["TLS 1.1", "weaker cipher", "cipher without forward secrecy", "unknown ALPN", "ALPN with line breaks"],
)
def test_bad_offer(limits: dict, alert: str, reason: str, server: Server, credentials: Path) -> None:
    """A client that cannot speak as the policy asks is told so."""
    context = lenient(credentials, credentials / "alice")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in ("minimum_version", "maximum_version"):
            if name in limits:
                setattr(context, name, limits[name])
    if "ciphers" in limits:
        context.set_ciphers(limits["ciphers"] + ":@SECLEVEL=0")
    if "alpn" in limits:
        context.set_alpn_protocols(limits["alpn"])
    after = server.log_end()
    assert told(server.port, context) == alert
    assert reason in refused(server, after)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "CONNECT"])
def test_plain_http(server: Server, method: str) -> None:
    """Who speaks HTTP without TLS is answered in HTTP without TLS."""
    after = server.log_end()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(f"{method} / HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        answer = b""
        while got := sock.recv(65_536):
            answer += got
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-length: %d" % len(body) in head
    assert b"connection: close" in head
    assert b"https" in body
    assert "plain HTTP" in refused(server, after)


@pytest.mark.parametrize(
    "garbage",
    [bytes(100), os.urandom(1000), b"SSH-2.0-OpenSSH_9.9\r\n", b"\x16\x03\x01\xff\xff" + bytes(100)],
    ids=["zeros", "random", "SSH", "oversized record"],
)
def test_garbage(server: Server, garbage: bytes) -> None:
    """Noise ends the connection, in order and in one line."""
    after = server.log_end()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(garbage)
        while sock.recv(65_536):  # perhaps an alert; never a reset
            pass
    refused(server, after)


def client_hello(credentials: Path) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = lenient(credentials, credentials / "alice").wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_silence(server: Server, credentials: Path) -> None:
    """Who sends nothing, half a ClientHello, or nothing more after the server's part is cut off at the time-out."""
    hello = client_hello(credentials)
    after = server.log_end()
    started = time.monotonic()
    silent = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(4)]
    for sock, said in zip(silent, [b"", hello[:1], hello[: len(hello) // 2], hello], strict=True):
        sock.sendall(said)
    for sock in silent:
        sock.settimeout(PATIENCE)
        try:
            while sock.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        assert 2.8 < time.monotonic() - started < PATIENCE
        sock.close()
    lines = server.logged("handshake refused", after, times=4)
    assert len(lines) == 4
    assert all("no handshake within 3 s" in line for line in lines)


def test_client_hello_in_single_bytes(server: Server, credentials: Path) -> None:
    """A ClientHello that arrives byte by byte is a ClientHello."""
    context = lenient(credentials, credentials / "alice")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65_536))
        tls.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        for byte in outgoing.read():
            sock.sendall(bytes([byte]))
        while True:
            try:
                assert tls.read(65_536).startswith(b"HTTP/1.1 200")
                break
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(65_536))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rudely", [False, True])
def test_client_vanishes(server: Server, credentials: Path, share: float, rudely: bool) -> None:
    """A client that goes in the middle of the handshake, in order or by a reset, is one line in the log."""
    hello = client_hello(credentials)
    after = server.log_end()
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    sock.sendall(hello[: int(len(hello) * share)])
    if rudely:
        time.sleep(0.02)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    assert "client closed the connection" in refused(server, after)
