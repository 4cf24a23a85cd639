"""The handshake as OpenSSL's own tools, and a client of the newest OpenSSL, see it."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from pki.keys import KeyType
from pki.lifecycle import Request
from pki.names import Names
from pki.profiles import LEAF_PROFILES
from tests.support.issuer import Issuer, client_context
from tests.support.tools import require
from tests.support.wire import Ended
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.lifecycle import Lifecycle
    from tests.support.server import Server


def s_client(server: Server, *words: str, ask: bytes = b"") -> str:
    """What `openssl s_client` prints, as Alice."""
    folder = server.client
    command = [require("openssl"), "s_client", "-connect", f"localhost:{server.port}", "-servername", "localhost"]
    command += ["-cert", folder / "tls.crt", "-key", folder / "tls.key", "-CAfile", folder / "ca.crt", *words]
    done = subprocess.run(command, input=ask, capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def talk(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Shake hands and be greeted; the connection stays open."""
    line = Line1(server.port, context)
    assert line.get("/").body == b"Hello alice@example.com!"
    return line.sock


def alice(server: Server, *alpn: str) -> ssl.SSLContext:
    return client_context(server.client, trust=server.client / "ca.crt", alpn=alpn)


def test_the_accepted_authorities_are_named(greeter: Server) -> None:
    """The CertificateRequest lists the CA, so that a client with several certificates knows which one to send."""
    for version in ("-tls1_2", "-tls1_3"):
        printed = s_client(greeter, version)
        names = printed.split("Acceptable client certificate CA names")[1].split("Requested Signature")[0]
        assert "CN = Conformance CA" in names


def test_the_trust_anchor_is_not_sent(greeter: Server) -> None:
    """The server's chain is its leaf: the anchor is the client's to have."""
    assert s_client(greeter, "-showcerts").count("BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_never_resumed(greeter: Server, version: ssl.TLSVersion) -> None:
    """A recorded session is offered, and a full handshake follows: changed trust is asked again, every time."""
    context = alice(greeter, "http/1.1")
    context.minimum_version = context.maximum_version = version
    first = talk(greeter, context)
    session = first.session
    first.close()
    with socket.create_connection(("localhost", greeter.port)) as plain:
        again = context.wrap_socket(plain, server_hostname="localhost", session=session)
        again.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert again.recv(100).startswith(b"HTTP/1.1 200")
        assert not again.session_reused
        again.close()


def test_openssl_cannot_resume_either(greeter: Server) -> None:
    """`s_client -reconnect` comes back with its session five times, and shakes hands in full each time."""
    printed = s_client(greeter, "-tls1_2", "-reconnect")
    assert "Reused" not in printed
    assert printed.count("New, TLSv1.2") >= 2


def test_no_compression(greeter: Server) -> None:
    """RFC 9113 section 9.2.1."""
    assert "Compression: NONE" in s_client(greeter, "-tls1_2", "-comp")


def newest(server: Server, alpn: bytes = b"h2", most: int = SSL.TLS1_3_VERSION) -> SSL.Connection:
    """A connection of the OpenSSL that the server itself uses."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(most)
    context.use_certificate_chain_file(str(server.client / "tls.crt"))
    context.use_privatekey_file(str(server.client / "tls.key"))
    context.load_verify_locations(str(server.client / "ca.crt"))
    context.set_alpn_protos([alpn])
    plain = socket.create_connection(("localhost", server.port))
    connection = SSL.Connection(context, plain)
    connection.set_tlsext_host_name(b"localhost")
    connection.set_connect_state()
    connection.do_handshake()
    return connection


def test_no_renegotiation(greeter: Server) -> None:
    """RFC 9113 section 9.2.1: a client that asks for one is told so at once, by the alert no_renegotiation."""
    with closing(newest(greeter, b"http/1.1", SSL.TLS1_2_VERSION)) as connection:
        assert connection.renegotiate()
        connection.setblocking(False)
        until = time.monotonic() + 3
        with pytest.raises(SSL.Error, match="no renegotiation"):
            while time.monotonic() < until:
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    select.select([connection], [], [], 0.2)


def test_the_key_exchange_is_post_quantum_where_the_client_can(greeter: Server) -> None:
    """X25519MLKEM768 comes first; older clients get X25519."""
    with closing(newest(greeter)) as connection:
        assert connection.get_group_name() == "X25519MLKEM768"
    assert "X25519" in s_client(greeter)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(greeter: Server, version: str) -> None:
    """TLS 1.2 is the least: the alert says protocol_version."""
    printed = s_client(greeter, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in printed


def test_the_default_policy_has_one_suite_for_tls_1_2(greeter: Server) -> None:
    """ECDHE-ECDSA-AES256-GCM-SHA384, and a client that offers all but this one is refused."""
    assert "Cipher is ECDHE-ECDSA-AES256-GCM-SHA384" in s_client(greeter, "-tls1_2")
    others = s_client(greeter, "-tls1_2", "-cipher", "ALL:!ECDHE-ECDSA-AES256-GCM-SHA384")
    assert "alert handshake failure" in others


def test_the_modern_policy_is_tls_1_3_alone(start: Callable[..., Server]) -> None:
    server = start("--tls-policy", "modern")
    assert "alert protocol version" in s_client(server, "-tls1_2")
    assert "Protocol  : TLSv1.3" in s_client(server) or "TLSv1.3" in s_client(server)


def test_the_intermediate_policy_serves_rsa_keys(start: Callable[..., Server], lifecycle: Lifecycle) -> None:
    """An RSA server speaks TLS 1.2 under `intermediate`, in its own order of suites, and under no other policy."""
    names = Names.parse("rsa", dns_names=["localhost"])
    request = Request(LEAF_PROFILES["server"], names, key=KeyType.RSA3072)
    folder = lifecycle.issue(request, now=datetime.now(UTC)).folder
    server = start("--tls-policy", "intermediate", credential=folder)
    # The client prefers AES-128: the server's preference counts.
    suites = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
    assert "Cipher is ECDHE-RSA-AES256-GCM-SHA384" in s_client(server, "-tls1_2", "-cipher", suites)
    strict = start(credential=folder)
    assert "alert handshake failure" in s_client(strict, "-tls1_2")
    assert "Cipher is TLS_AES_256_GCM_SHA384" in s_client(strict)


def test_no_common_application_protocol_is_an_alert(greeter: Server) -> None:
    """RFC 7301 section 3.2: no_application_protocol, rather than a protocol that nobody asked for."""
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        talk(greeter, alice(greeter, "spdy/3"))


def test_a_client_without_alpn_speaks_http_1(greeter: Server) -> None:
    talk(greeter, alice(greeter)).close()


def test_the_server_prefers_http_2(greeter: Server) -> None:
    context = alice(greeter, "http/1.1", "h2")
    with socket.create_connection(("localhost", greeter.port)) as plain:
        tls = context.wrap_socket(plain, server_hostname="localhost")
        assert tls.selected_alpn_protocol() == "h2"
        tls.close()


def test_the_roots_of_the_system_are_not_trusted(start: Callable[..., Server], tmp_path: Path) -> None:
    """`SSL_CERT_FILE` and `SSL_CERT_DIR` name a foreign authority: its clients stay strangers."""
    foreign = Issuer("A public CA")
    folder = foreign.issue().save(tmp_path / "mallory")
    server = start(SSL_CERT_FILE=str(folder / "ca.crt"), SSL_CERT_DIR=str(folder))
    context = client_context(folder, trust=server.client / "ca.crt", alpn=("http/1.1",))
    with pytest.raises(Ended, match="UNKNOWN_CA"), Line1(server.port, context) as line:
        line.recv()
    talk(server, alice(server, "http/1.1")).close()


def test_post_handshake_authentication_is_not_asked_for(greeter: Server) -> None:
    """RFC 8740: the certificate is asked for in the handshake, and never again."""
    context = alice(greeter, "http/1.1")
    context.post_handshake_auth = True
    talk(greeter, context).close()
