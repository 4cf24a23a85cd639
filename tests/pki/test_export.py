"""`handclasp-pki export`: PKCS #12 files as OpenSSL and NSS read them, and the bundle of what is trusted."""

from __future__ import annotations

import re
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from pki.authority import CertificateAuthority
from pki.cli import main
from pki.credential import Credential, load_folder
from pki.errors import CredentialError
from pki.keys import KeyType
from pki.names import Names
from pki.pkcs12 import new_passphrase, to_pkcs12
from pki.profiles import ClientProfile
from pki.trust import TrustBundle
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

NOW = datetime.now(UTC)
PASSPHRASE = re.compile(r"^passphrase: ((?:[0-9a-hjkmnp-tv-z]{4}-){6}[0-9a-hjkmnp-tv-z]{4})$", re.MULTILINE)
SECRET = b"a secret"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a folder with an authority and the client `alice`."""
    monkeypatch.chdir(tmp_path)
    for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    assert call("init")[0] == 0
    assert call("issue", "client", "alice", "--email", "alice@example.com")[0] == 0
    return call


@pytest.fixture
def below_root() -> tuple[Credential, TrustBundle]:
    """Alice's credential, of an authority below a root."""
    keys = KeyType.P256.generate(), KeyType.P256.generate(), KeyType.P256.generate()
    authority = CertificateAuthority.create_below_root("Deep", *keys[:2], now=NOW)
    names = Names.parse("alice", emails=["alice@example.com"])
    leaf = authority.issue(ClientProfile(), names, keys[2].public_key(), now=NOW)
    return Credential(keys[2], (leaf, *authority.sent_along)), TrustBundle((authority.anchor,))


def one_line(outcome: tuple[int, str, str], code: int = 1) -> str:
    """The error of a command that has to fail with this code and nothing on stdout."""
    got, out, err = outcome
    assert (got, out) == (code, ""), err
    assert re.fullmatch(r"handclasp-pki: error: [^\n]+\n", err)
    return err


def openssl(file: Path, passphrase: str, *words: str) -> str:
    """What `openssl pkcs12` prints; it fails where the file does not open."""
    command = [require("openssl"), "pkcs12", "-in", str(file), "-passin", f"pass:{passphrase}", "-noenc", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def nss(folder: Path, file: Path, passphrase: str) -> str:
    """What NSS lists once it has imported the file into a new database."""
    database = f"sql:{folder}"
    folder.mkdir()
    for command in (
        [require("certutil"), "-N", "-d", database, "--empty-password"],
        [require("pk12util"), "-i", str(file), "-d", database, "-W", passphrase],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    listed = [require("certutil"), "-L", "-d", database]
    return subprocess.run(listed, capture_output=True, text=True, timeout=60, check=True).stdout


def test_alice_in_one_file(run: Run, tmp_path: Path) -> None:
    """Key, certificate and trust anchor, for nobody else's eyes, and a passphrase that is shown once."""
    code, out, err = run("export", "alice", "--p12")
    assert (code, err) == (0, "")
    assert re.match(r"exported alice to alice\.p12, valid until 20\d\d-\d\d-\d\d\n", out)
    (passphrase,) = PASSPHRASE.findall(out)
    file = Path("alice.p12")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = pkcs12.load_pkcs12(file.read_bytes(), passphrase.encode())
    credential, trust = load_folder(tmp_path / "state/credentials/alice")
    assert read.cert is not None
    assert (read.cert.certificate, read.cert.friendly_name) == (credential.leaf, b"alice")
    assert read.key is not None
    assert read.key.public_key() == credential.leaf.public_key()
    assert [other.certificate for other in read.additional_certs] == list(trust)


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_openssl_and_nss_import_it(run: Run, tmp_path: Path, legacy: bool) -> None:
    """By the algorithms that were asked for, and by no others; the certificate is called by its name."""
    code, out, err = run("export", "alice", "--p12", *(["--legacy"] if legacy else []))
    assert code == 0
    assert bool(err) == legacy
    (passphrase,) = PASSPHRASE.findall(out)
    file = tmp_path / "alice.p12"
    printed = openssl(file, passphrase, "-info", *(["-legacy"] if legacy else []))
    assert printed.count("BEGIN CERTIFICATE") == 2
    assert printed.count("BEGIN PRIVATE KEY") == 1
    assert "friendlyName: alice" in printed
    if legacy:
        assert "MAC: sha1," in printed
        assert printed.count("pbeWithSHA1And3-KeyTripleDES-CBC") == 2
    else:
        assert "MAC: sha256," in printed
        assert printed.count("PBES2, PBKDF2, AES-256-CBC, Iteration") == printed.count("PRF hmacWithSHA256") == 2
    listed = nss(tmp_path / "nss", file, passphrase)
    assert re.search(r"^alice +u,u,u *$", listed, re.MULTILINE)
    assert re.search(r"^Handclasp CA +,, *$", listed, re.MULTILINE)


@pytest.mark.parametrize("key", [key for key in KeyType if not key.experimental and key is not KeyType.RSA4096])
def test_every_key_type_goes_in(run: Run, key: KeyType) -> None:
    """OpenSSL reads each of them."""
    run("issue", "server", "web", "--dns", "web.example.com", "--key", key)
    (passphrase,) = PASSPHRASE.findall(run("export", "web", "--p12")[1])
    assert "BEGIN PRIVATE KEY" in openssl(Path("web.p12"), passphrase)


def test_a_key_without_readers_is_refused(run: Run) -> None:
    """ML-DSA: one line, and no file."""
    run("issue", "client", "new", "--email", "new@example.com", "--key", "ml-dsa-44")
    assert "ml-dsa-44" in one_line(run("export", "new", "--p12"))
    assert not Path("new.p12").exists()


def test_the_chain_goes_along(below_root: tuple[Credential, TrustBundle], tmp_path: Path) -> None:
    """What leads to the anchor, and the anchor; each once, although a bundle may hold both."""
    credential, trust = below_root
    both = trust.adding(credential.chain[1])
    for bundle, expected in ((trust, [credential.chain[1], *trust]), (both, [credential.chain[1], trust.anchors[0]])):
        read = pkcs12.load_pkcs12(to_pkcs12(credential, bundle, "alice", SECRET), SECRET)
        assert [other.certificate for other in read.additional_certs] == expected
    file = tmp_path / "deep.p12"
    file.write_bytes(to_pkcs12(credential, trust, "alice", SECRET))
    assert "Deep Issuing" in nss(tmp_path / "nss", file, SECRET.decode())


def test_a_password_of_one_s_own(run: Run, tmp_path: Path) -> None:
    """From a file, its line's end left out; it is printed nowhere."""
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    code, out, err = run("export", "alice", "--p12", "--password-file", secret)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert "horse" not in out
    assert "BEGIN PRIVATE KEY" in openssl(Path("alice.p12"), "correct horse")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"x" * 1024, "longer than"), (b"\xff\xfe", "UTF-8"), (None, "cannot be")],
)
def test_a_password_that_is_none(run: Run, tmp_path: Path, content: bytes | None, words: str) -> None:
    """One line, and no file."""
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    assert words in one_line(run("export", "alice", "--p12", "--password-file", tmp_path / "secret"))
    assert not Path("alice.p12").exists()


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    """Not a file, not a symbolic link that leads nowhere, and no folder."""
    for name in ("file", "link", "folder"):
        out = tmp_path / name
        if name == "file":
            out.write_text("mine")
        elif name == "link":
            out.symlink_to(tmp_path / "elsewhere")
        else:
            out.mkdir()
        for words in (["alice", "--p12"], ["alice", "--bundle"], ["--bundle"]):
            assert "is there already" in one_line(run("export", *words, "--out", out))
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert run("export", "alice", "--p12")[0] == 0
    assert "alice.p12 is there already" in one_line(run("export", "alice", "--p12"))


def test_where_it_cannot_be_written(run: Run, tmp_path: Path) -> None:
    """A folder that is not there: one line, and no passphrase."""
    assert "cannot be written" in one_line(run("export", "alice", "--p12", "--out", tmp_path / "no/alice.p12"))


def test_the_bundle(run: Run) -> None:
    """What every credential is given to trust, or what one has; for everybody to read."""
    assert run("export", "--bundle") == (0, "exported 1 authority to ca.crt\n", "")
    assert run("export", "alice", "--bundle") == (0, "exported 1 authority that alice trusts to alice.ca.crt\n", "")
    _, trust = load_folder(Path("state/credentials/alice"))
    for file in (Path("ca.crt"), Path("alice.ca.crt")):
        assert TrustBundle.load(file) == trust
        assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_what_makes_no_sense(run: Run) -> None:
    """Exit code 2, one line."""
    for words in (
        ["alice"],
        ["alice", "--p12", "--bundle"],
        ["--p12"],
        ["--bundle", "--legacy"],
        ["alice", "--bundle", "--password-file", "x"],
        ["alice", "--p12", "--out", ""],
        ["alice", "--p12", "--password-file", ""],
    ):
        one_line(run("export", *words), code=2)


def test_who_is_not_there(run: Run, tmp_path: Path) -> None:
    """A name that was never issued, one whose folder is gone or is another's, and no authority at all."""
    assert "'bob' has not been issued here: known are alice" in one_line(run("export", "bob", "--p12"))
    run("issue", "client", "carol", "--email", "carol@example.com")
    Path("state/credentials/carol").rename("carol")
    assert "does not exist" in one_line(run("export", "carol", "--p12"))
    Path("state/credentials/alice").rename("state/credentials/carol")
    assert "holds the credential of 'alice'" in one_line(run("export", "carol", "--p12"))
    assert "there is no authority" in one_line(run("--state", tmp_path / "none", "export", "--bundle"))


def test_what_has_ended_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is exported all the same: who asks for it may want to read old mail."""
    monkeypatch.setattr("pki.commands.export.current_time", lambda: NOW.replace(year=2100))
    code, out, err = run("export", "alice", "--p12")
    assert code == 0
    assert PASSPHRASE.search(out)
    assert "the certificate of alice is expired" in err


def test_passphrases_are_random() -> None:
    """No two alike, and all 32 letters come up."""
    made = {new_passphrase() for _ in range(200)}
    assert len(made) == 200
    assert len(set("".join(made))) == 33


def test_ml_dsa_is_refused_by_the_function_too(below_root: tuple[Credential, TrustBundle]) -> None:
    """Whoever calls it."""
    key = KeyType.ML_DSA_44.generate()
    authority = CertificateAuthority.create("CA", key, now=NOW)
    with pytest.raises(CredentialError, match="ml-dsa-44"):
        to_pkcs12(Credential(key, (authority.certificate,)), below_root[1], "alice", SECRET)
