"""Keys of ML-DSA (FIPS 204, RFC 9881): an authority, a server and a client of nothing else, and a handshake of them."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from OpenSSL import SSL

from pki.authority import CertificateAuthority, was_issued_by
from pki.cli import main
from pki.credential import load_folder
from pki.crl_signing import Entry, sign_list
from pki.keys import KeyType, describe_key, sign, signature_hash
from pki.pem import parse_key
from tests.support.server import Server

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)
TYPES = [key for key in KeyType if key.experimental]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The credentials `localhost` and `alice` of an authority, all with keys of ML-DSA-65."""
    monkeypatch.chdir(tmp_path)
    for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["init", "--key", "ml-dsa-65"]) == 0
    assert main(["issue", "server", "localhost", "--key", "ml-dsa-65"]) == 0
    assert main(["issue", "client", "alice", "--email", "alice@example.com", "--key", "ml-dsa-65"]) == 0
    return tmp_path / "state/credentials"


@pytest.mark.parametrize("key_type", TYPES)
def test_each_size_signs_what_it_has_to(key_type: KeyType) -> None:
    """Certificates, revocation lists, bytes; and what is signed holds against the public key."""
    key = key_type.generate()
    authority = CertificateAuthority.create("An authority", key, now=NOW)
    assert signature_hash(key) is None
    assert describe_key(key.public_key()) == key_type
    assert was_issued_by(authority.certificate, authority.certificate)
    signature = sign(key, b"words")
    public_key = key.public_key()
    assert isinstance(public_key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    public_key.verify(signature, b"words")
    entries = [Entry(number, NOW) for number in range(1, 4)]
    der = sign_list(authority, entries, number=1, this_update=NOW, next_update=NOW + timedelta(days=1))
    made = x509.load_der_x509_crl(der)
    assert len(list(made)) == 3
    public_key.verify(made.signature, made.tbs_certlist_bytes)


def test_what_is_written_is_read(folder: Path) -> None:
    """PKCS#8 in the folder; the inventory and `rotate` know the type."""
    before, trust = load_folder(folder / "alice")
    assert was_issued_by(before.leaf, trust.anchors[0])
    assert parse_key(before.key_pem()).public_key() == before.leaf.public_key()
    assert main(["rotate", "alice"]) == 0
    after, _ = load_folder(folder / "alice")
    assert describe_key(after.leaf.public_key()) == "ml-dsa-65"
    assert after.leaf.public_key() != before.leaf.public_key()


def test_an_encrypted_authority_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its passphrase, and without it not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "a secret")
    assert main(["init", "--key", "ml-dsa-44"]) == 0
    assert main(["issue", "server", "localhost"]) == 0
    monkeypatch.setenv("HANDCLASP_CA_PASSPHRASE", "another")
    assert main(["rotate", "--all"]) == 1


def test_inspect_names_key_and_signature(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the words of `--key`."""
    capsys.readouterr()
    assert main(["inspect", str(folder / "alice")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^key +ml-dsa-65 *$", printed, re.MULTILINE)
    assert re.search(r"^signature +ml-dsa-65 *$", printed, re.MULTILINE)


def test_the_help_says_that_it_is_experimental(capsys: pytest.CaptureFixture[str]) -> None:
    """Few programs know these keys: who chooses one is told."""
    for words in (["init"], ["issue", "server"], ["issue", "client"], ["issue", "peer"], ["self-signed"]):
        assert main([*words, "--help"]) == 0
        assert "ml-dsa-* experimental" in " ".join(capsys.readouterr().out.split())


def test_a_server_and_a_client_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    """`GET /` over mutual TLS: both sides sign the handshake with ML-DSA-65, and the server knows who calls."""
    server = Server(tmp_path, folder / "localhost", folder / "alice", app="services.app:app")
    try:
        with closing(_connected(server.port, folder / "alice")) as connection:
            peer = connection.get_peer_certificate(as_cryptography=True)
            assert peer is not None
            assert describe_key(peer.public_key()) == "ml-dsa-65"
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = _all_of(connection)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"Hello alice@example.com!")
        assert "Traceback" not in server.log()
    finally:
        server.stop()


def _connected(port: int, folder: Path) -> SSL.Connection:
    """A client of the server's own OpenSSL: that of the standard library may be too old for these keys."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate_chain_file(str(folder / "tls.crt"))
    context.use_privatekey_file(str(folder / "tls.key"))
    context.load_verify_locations(str(folder / "ca.crt"))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_alpn_protos([b"http/1.1"])
    connection = SSL.Connection(context, socket.create_connection(("localhost", port)))
    connection.set_tlsext_host_name(b"localhost")
    connection.set_connect_state()
    connection.do_handshake()
    return connection


def _all_of(connection: SSL.Connection) -> bytes:
    received = b""
    try:
        while part := connection.recv(4096):
            received += part
    except (SSL.ZeroReturnError, SSL.SysCallError):
        pass
    return received
