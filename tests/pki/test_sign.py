"""`handclasp-pki sign`: requests as the `openssl` command makes them, and those that nobody should sign."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority_files import load_authority
from pki.cli import main
from pki.credential import load_folder
from pki.csr import SigningRequest
from pki.errors import CSRError
from pki.identity import Identity, Purpose, has_purpose
from pki.keys import KeyType, describe_key, signature_hash
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.state import State
from pki.trust import is_authority
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from pki.pem import PrivateKey

    Run = Callable[..., tuple[int, str, str]]

CLIENT = ("--profile", "client", "--email", "alice@example.com")
EMPTY = x509.Name([])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a folder with an authority."""
    monkeypatch.chdir(tmp_path)
    for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    assert call("init")[0] == 0
    return call


def one_line(outcome: tuple[int, str, str], code: int = 1) -> str:
    """The error of a command that has to fail with this code and nothing on stdout."""
    got, out, err = outcome
    assert (got, out) == (code, ""), err
    assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", err), err
    return err


def openssl_request(
    *words: str, key: str = "ec", pkeyopt: str = "ec_paramgen_curve:P-256", file: str = "alice"
) -> Path:
    """FILE.csr and FILE.key, as somebody with the `openssl` command makes them."""
    options = ["-pkeyopt", pkeyopt] if pkeyopt else []
    command = [require("openssl"), "req", "-new", "-newkey", key, *options, "-noenc", "-keyout", f"{file}.key"]
    subj = [] if "-subj" in words else ["-subj", "/"]
    command += ["-out", f"{file}.csr", *subj, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Path(f"{file}.csr")


def request_of(key: PrivateKey, subject: x509.Name = EMPTY) -> x509.CertificateSigningRequest:
    """A request that this key signs."""
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, signature_hash(key))


def written(request: x509.CertificateSigningRequest, name: str = "made.csr") -> Path:
    Path(name).write_bytes(request.public_bytes(Encoding.PEM))
    return Path(name)


def serials(run: Run) -> list[str]:
    return [entry["serial"] for entry in json.loads(run("list", "--json")[1])]


def test_a_key_that_stays_where_it_is(run: Run) -> None:
    """The certificate and the trust anchor, no key; recorded; and OpenSSL verifies the one by the other."""
    csr = openssl_request()
    code, out, err = run("sign", csr, "alice", *CLIENT)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"signed client alice \(alice@example\.com\), valid until 20\d\d-\d\d-\d\d, in alice\n", out)
    assert sorted(path.name for path in Path("alice").iterdir()) == ["ca.crt", "tls.crt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("alice").iterdir()} == {0o644}
    leaf = x509.load_pem_x509_certificate(Path("alice/tls.crt").read_bytes())
    assert Identity.from_certificate(leaf).name == "alice@example.com"
    assert leaf.public_key() == x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    verified = [require("openssl"), "verify", "-x509_strict", "-CAfile", "alice/ca.crt", "alice/tls.crt"]
    subprocess.run(verified, capture_output=True, timeout=60, check=True)
    (entry,) = json.loads(run("list", "--json")[1])
    assert entry["sha256"] == leaf.fingerprint(hashes.SHA256()).hex()
    assert (entry["name"], entry["profile"], entry["state"], entry["folder"]) == ("alice", "client", "valid", None)
    assert run("list")[0] == 0


def test_beside_the_key(run: Run) -> None:
    """Into the folder that holds tls.key already: then it is a credential, ready to use."""
    Path("web").mkdir(mode=0o700)
    csr = openssl_request(file="web/tls")
    assert run("sign", csr, "web", "--profile", "server", "--dns", "web.example.com", "--out", "web")[0] == 0
    credential, trust = load_folder(Path("web"))
    assert has_purpose(credential.leaf, Purpose.SERVER)
    assert not has_purpose(credential.leaf, Purpose.CLIENT)
    assert len(trust) == 1


@pytest.mark.parametrize(
    ("key", "pkeyopt", "kind"),
    [
        ("ec", "ec_paramgen_curve:P-384", "p384"),
        ("ec", "ec_paramgen_curve:P-521", "p521"),
        ("ed25519", "", "ed25519"),
        ("rsa", "rsa_keygen_bits:2048", "rsa2048"),
        ("rsa", "rsa_keygen_bits:3072", "rsa3072"),
    ],
)
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_keys_and_forms(run: Run, key: str, pkeyopt: str, kind: str, form: str) -> None:
    """Every key type that a handshake takes; text in front of the PEM is no hindrance."""
    csr = openssl_request("-outform", form, *(["-text"] if form == "PEM" else []), key=key, pkeyopt=pkeyopt)
    assert run("sign", csr, "alice", *CLIENT)[0] == 0
    assert describe_key(x509.load_pem_x509_certificate(Path("alice/tls.crt").read_bytes()).public_key()) == kind


def test_ml_dsa_is_signed(run: Run) -> None:
    """Where the program that made the request knows it."""
    assert run("sign", written(request_of(KeyType.ML_DSA_44.generate())), "alice", *CLIENT)[0] == 0
    assert json.loads(run("list", "--json")[1])[0]["key"] == "ml-dsa-44"


def test_what_it_asks_for_is_not_followed(run: Run) -> None:
    """Another subject, other names, an authority's rights: none of it is in the certificate, and a note says so."""
    csr = openssl_request(
        *("-subj", "/CN=root/O=Mallory", "-addext", "subjectAltName=email:root@example.com,DNS:evil.example"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"),
        *("-addext", "extendedKeyUsage=serverAuth,codeSigning"),
    )
    code, out, err = run("sign", csr, "alice", *CLIENT, "--days", "3")
    assert code == 0
    assert "alice@example.com" in out
    assert err == (
        "handclasp-pki: note: the request asks for O=Mallory,CN=root, root@example.com, evil.example, "
        "which was not followed\n"
    )
    leaf = x509.load_pem_x509_certificate(Path("alice/tls.crt").read_bytes())
    assert leaf.subject.rfc4514_string() == "CN=alice"
    identity = Identity.from_certificate(leaf)
    assert (identity.emails, identity.dns_names) == (("alice@example.com",), ())
    assert not is_authority(leaf)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert (leaf.not_valid_after_utc - datetime.now(UTC)).days in (2, 3)


def test_what_agrees_needs_no_note(run: Run) -> None:
    """The same subject and names, or none of them."""
    csr = openssl_request("-subj", "/CN=alice", "-addext", "subjectAltName=email:alice@EXAMPLE.com")
    assert run("sign", csr, "alice", *CLIENT)[2] == ""


def test_a_note_is_one_line_without_tricks(run: Run) -> None:
    """A subject that moves the cursor, and one that never ends."""
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, "\x1b[2J\nalice")]
    names += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "o" * 60) for _ in range(50)]
    err = run("sign", written(request_of(KeyType.P256.generate(), x509.Name(names))), "alice", *CLIENT)[2]
    assert "\x1b" not in err
    assert err.count("\n") == 1
    assert len(err) < 400


def test_extensions_that_cannot_be_read(run: Run) -> None:
    """They are a wish as well: noted, and left out."""
    key = KeyType.P256.generate()
    broken = x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x81\x05")
    builder = x509.CertificateSigningRequestBuilder().subject_name(EMPTY).add_extension(broken, critical=False)
    code, _, err = run("sign", written(builder.sign(key, hashes.SHA256())), "alice", *CLIENT)
    assert code == 0
    assert "cannot be read" in err


def test_a_broken_signature(run: Run) -> None:
    """Of its last byte one bit, in both forms; and a key that was put into the request of another."""
    csr = openssl_request("-outform", "DER")
    der = bytearray(csr.read_bytes())
    der[-1] ^= 1
    csr.write_bytes(der)
    assert "signature was not made by its key" in one_line(run("sign", csr, "alice", *CLIENT))
    whole = request_of(KeyType.ED25519.generate()).public_bytes(Encoding.DER)
    own, other = (KeyType.ED25519.generate() for _ in range(2))
    mine, theirs = (request_of(key).public_bytes(Encoding.DER) for key in (own, other))
    assert len(mine) == len(theirs) == len(whole)
    start = next(at for at in range(len(mine)) if mine[at : at + 32] == own.public_key().public_bytes_raw())  # type: ignore[union-attr]
    stolen = mine[:start] + other.public_key().public_bytes_raw() + mine[start + 32 :]  # type: ignore[union-attr]
    Path("stolen.csr").write_bytes(stolen)
    assert "signature was not made by its key" in one_line(run("sign", "stolen.csr", "alice", *CLIENT))
    assert serials(run) == []
    assert not Path("alice").exists()


def test_rsa_of_1024_bits(run: Run) -> None:
    """Too weak for any handshake; said with what to use instead."""
    csr = openssl_request(key="rsa", pkeyopt="rsa_keygen_bits:1024")
    assert "RSA key of 1024 bits is too weak" in one_line(run("sign", csr, "alice", *CLIENT))
    assert serials(run) == []


def weak_requests() -> list[tuple[str, x509.CertificateSigningRequest]]:
    """Keys that no certificate of ours may have, each with what is said of it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(EMPTY)
    small_exponent = rsa.generate_private_key(public_exponent=3, key_size=2048)
    return [
        ("exponent 3", builder.sign(small_exponent, hashes.SHA256())),
        ("curve secp256k1", builder.sign(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256())),
        ("curve secp224r1", builder.sign(ec.generate_private_key(ec.SECP224R1()), hashes.SHA256())),
        ("type ed448", builder.sign(ed448.Ed448PrivateKey.generate(), None)),
        ("type dsa", builder.sign(dsa.generate_private_key(2048), hashes.SHA256())),
    ]


def test_keys_that_nobody_takes() -> None:
    """Each with its reason."""
    for words, request in weak_requests():
        with pytest.raises(CSRError, match=words):
            SigningRequest.parse(request.public_bytes(Encoding.DER))


def test_garbage(run: Run) -> None:
    """What is no request: one line each, and nothing is recorded or written."""
    csr = openssl_request().read_bytes()
    damaged = csr.replace(b"\nM", b"\nA", 1)
    half = csr[: len(csr) // 2]
    certificate = Path("state/authority/ca.crt").read_bytes()
    key = Path("alice.key").read_bytes()
    contents = (
        b"",
        b"\0",
        b"no request",
        damaged,
        half,
        csr + csr,
        certificate,
        key,
        b"\x30\x80\0\0",
        b"x" * (2 << 20),
    )
    for content in contents:
        Path("garbage").write_bytes(content)
        assert "garbage cannot be signed: it" in one_line(run("sign", "garbage", "alice", *CLIENT))
    for cut in range(0, len(csr), 37):
        Path("garbage").write_bytes(csr[:cut])
        one_line(run("sign", "garbage", "alice", *CLIENT))
    assert "does not exist" in one_line(run("sign", "nowhere", "alice", *CLIENT))
    assert "cannot be read" in one_line(run("sign", "state", "alice", *CLIENT))
    assert serials(run) == []
    assert not Path("alice").exists()


def test_any_byte_changed_is_an_error() -> None:
    """The signature covers all that is used, and no request takes the parser down."""
    der = request_of(KeyType.ED25519.generate()).public_bytes(Encoding.DER)
    for at in range(len(der)):
        changed = bytearray(der)
        changed[at] ^= 0x41
        with pytest.raises(CSRError):
            SigningRequest.parse(bytes(changed))


def test_a_key_is_used_once(run: Run) -> None:
    """Not for a second name, not for the same one, and not one that was made here."""
    csr = openssl_request()
    assert run("sign", csr, "alice", *CLIENT)[0] == 0
    for name in ("alice", "bob"):
        assert "used before, by alice" in one_line(run("sign", csr, name, *CLIENT, "--out", "other"))
    run("issue", "client", "carol", "--email", "carol@example.com")
    credential, trust = load_folder(Path("state/credentials/carol"))
    assert "used before, by carol" in one_line(run("sign", written(request_of(credential.key)), "dora", *CLIENT))
    authority = load_authority(Path("state/authority"), None)
    assert authority.certificate in trust
    assert "key of an authority" in one_line(run("sign", written(request_of(authority.key)), "eve", *CLIENT))
    assert len(serials(run)) == 2
    assert not any(Path(name).exists() for name in ("other", "dora", "eve"))


def test_new_dates_are_a_new_request(run: Run) -> None:
    """The same name again, with another key; a name whose key was made here is not taken over."""
    assert run("sign", openssl_request(), "alice", *CLIENT)[0] == 0
    assert run("sign", openssl_request(), "alice", *CLIENT, "--out", "alice-2")[0] == 0
    assert len(serials(run)) == 2
    run("issue", "client", "carol", "--email", "carol@example.com")
    assert "carol has been issued" in one_line(run("sign", openssl_request(), "carol", *CLIENT))
    assert run("renew", "--due")[1] == "nothing is due\n"
    assert run("rotate", "--all")[1].count("\n") == 1


def test_who_was_revoked_comes_back_by_a_word(run: Run) -> None:
    """Neither by `sign` nor by `issue`, unless --again says so; and one on hold by neither."""
    assert run("sign", openssl_request(), "alice", *CLIENT)[0] == 0
    lifecycle, (serial,) = Lifecycle(State(Path("state"))), serials(run)
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        work.revocations.hold(serial, datetime.now(UTC))
    csr = openssl_request()
    for again in ([], ["--again"]):
        assert "is on hold" in one_line(run("sign", csr, "alice", *CLIENT, "--out", "new", *again))
    with lifecycle.writing() as here, here.inventory.transaction() as work:
        work.revocations.set_revoked(serial, "keyCompromise", datetime.now(UTC))
    assert "sign CSR alice --again" in one_line(run("sign", csr, "alice", *CLIENT, "--out", "new"))
    assert "issue client alice --again" in one_line(run("issue", "client", "alice", "--email", "alice@example.com"))
    assert run("sign", csr, "alice", *CLIENT, "--out", "new", "--again")[0] == 0


def test_nothing_is_overwritten(run: Run) -> None:
    """Not either of the two files; and what cannot be written is not recorded."""
    csr = openssl_request()
    for name in ("tls.crt", "ca.crt"):
        folder = Path(f"with-{name}")
        folder.mkdir()
        (folder / name).write_text("mine")
        error = one_line(run("sign", csr, "alice", *CLIENT, "--out", folder))
        assert f"{folder / name} is there already" in error
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"
    Path("file").write_text("mine")
    assert "file cannot be written" in one_line(run("sign", csr, "alice", *CLIENT, "--out", "file"))
    assert serials(run) == []
    assert run("sign", csr, "alice", *CLIENT)[0] == 0


def test_a_refused_key_leaves_no_file_beside_it(run: Run) -> None:
    """Where the inventory says no, the folder is as it was."""
    csr = openssl_request()
    assert run("sign", csr, "alice", *CLIENT)[0] == 0
    Path("there").mkdir()
    one_line(run("sign", csr, "alice", *CLIENT, "--out", "there"))
    assert list(Path("there").iterdir()) == []


def test_the_row_is_there_before_the_certificate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When tls.crt is written, the inventory knows it; when that fails, it still does."""
    seen: list[int] = []

    def full(path: Path, data: bytes, mode: int) -> None:
        if path.name == "tls.crt":
            with Lifecycle(State(Path("state"))).reading() as here, here.inventory.reading() as work:
                seen.append(work.counts().certificates)
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("pki.signing.write_new", full)
    assert "No space left" in one_line(run("sign", openssl_request(), "alice", *CLIENT))
    assert seen == [1]
    assert not Path("alice").exists()
    assert len(serials(run)) == 1


def test_what_makes_no_sense(run: Run) -> None:
    """Exit code 2, one line."""
    csr = openssl_request()
    for words in (
        ["alice"],
        ["alice", "--profile", "authority"],
        ["alice", "--profile", "client"],
        ["alice", *CLIENT, "--ip", "127.0.0.1"],
        ["alice", "--profile", "server", "--dns", "a.example", "--email", "a@example.com"],
        ["alice", *CLIENT, "--days", "0"],
        ["../alice", *CLIENT],
        ["alice", *CLIENT, "--out", ""],
    ):
        one_line(run("sign", csr, *words), code=2)
    assert serials(run) == []


def test_it_ends_with_its_authority(run: Run) -> None:
    """And says so."""
    code, _, err = run("sign", openssl_request(), "alice", *CLIENT, "--days", "5000")
    assert code == 0
    assert "with its authority" in err


def test_unlike_is_silent_where_the_request_is() -> None:
    """No subject and no names ask for nothing."""
    request = SigningRequest.parse(request_of(KeyType.P256.generate()).public_bytes(Encoding.PEM))
    assert request.unlike(Names.parse("alice", emails=["alice@example.com"])) is None
