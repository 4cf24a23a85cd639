"""A credential folder: written as a whole, read as a whole, its key for its owner alone."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pki import files
from pki.authority import CertificateAuthority
from pki.credential import Credential, load_folder, locate
from pki.errors import CredentialError, InsecurePermissions, PKIError, TrustError
from pki.files import is_private
from pki.keys import KeyType
from pki.names import Names
from pki.profiles import ClientProfile
from pki.self_signed import write_self_signed
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, tzinfo=UTC)
AUTHORITY = CertificateAuthority.create("An authority", KeyType.P256.generate(), now=NOW)
TRUST = TrustBundle((AUTHORITY.certificate,))


def issue(key_type: KeyType = KeyType.P256) -> Credential:
    key = key_type.generate()
    names = Names.parse("alice", emails=["alice@example.com"])
    return Credential(key, (AUTHORITY.issue(ClientProfile(), names, key.public_key(), now=NOW),))


ALICE = issue()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Chain, key and trust bundle come back equal; nothing else is left beside the folder."""
    folder = tmp_path / "deep" / "alice"
    ALICE.save(folder, TRUST)
    credential, trust = load_folder(folder)
    assert (credential, trust) == (ALICE, TRUST)
    assert credential.key_pem() == ALICE.key_pem()
    assert Credential.load(folder) == ALICE
    assert listing(folder.parent) == ["alice"]
    assert [name for name in listing(folder) if not name.startswith(".")] == ["ca.crt", "tls.crt", "tls.key"]
    assert "PRIVATE" not in repr(credential)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:
    """The key is 0600 and the folders 0700 under any umask."""
    before = os.umask(umask)
    try:
        ALICE.save(tmp_path / "alice", TRUST)
        (tmp_path / "empty").mkdir(mode=0o777)
        (tmp_path / "empty").chmod(0o755)
        ALICE.save(tmp_path / "empty", TRUST)
    finally:
        os.umask(before)
    assert mode(tmp_path / "alice") == 0o700
    assert mode(tmp_path / "empty") == 0o755
    for folder in (tmp_path / "alice", tmp_path / "empty"):
        assert mode(folder / "tls.key") == 0o600
        assert mode(folder / "tls.crt") == mode(folder / "ca.crt") == 0o644
        assert mode((folder / "tls.key").resolve().parent) == 0o700
        assert load_folder(folder) == (ALICE, TRUST)


def test_a_save_is_a_new_version_and_keeps_the_last(tmp_path: Path) -> None:
    """A reader that holds the paths of the version before reads on; older versions go."""
    folder = tmp_path / "alice"
    ALICE.save(folder, TRUST)
    first = locate(folder)
    second = issue()
    second.save(folder, TRUST)
    assert first.key.read_bytes() == ALICE.key_pem()
    assert Credential.load(folder) == second
    issue().save(folder, TRUST)
    assert not first.key.exists()
    assert len([name for name in listing(folder) if name.startswith("..") and name != "..data"]) == 2


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    """Half a version, half a link, half a folder beside: gone after the next save, nobody else's file with them."""
    folder = tmp_path / "alice"
    half = tmp_path / ".alice.0123456789abcdef.new"
    half.mkdir()
    (half / "tls.key").touch()
    ALICE.save(folder, TRUST)
    assert not half.exists()
    (folder / "..0123456789abcdef").mkdir()
    (folder / "...data.new").symlink_to("nowhere")
    (folder / "notes.txt").touch()
    (folder / "..2026_11_23_12_00_00.123456789").mkdir()
    ALICE.save(folder, TRUST)
    left = listing(folder)
    assert "..0123456789abcdef" not in left
    assert "...data.new" not in left
    assert {"notes.txt", "..2026_11_23_12_00_00.123456789"} <= set(left)


def test_a_copy_of_plain_files_is_read_and_renewed(tmp_path: Path) -> None:
    """Without links: `cp -L` of a folder loads; a save into it makes links of the files, the old pair kept once."""
    folder, copy = tmp_path / "alice", tmp_path / "copy"
    ALICE.save(folder, TRUST)
    copy.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        shutil.copy(folder / name, copy / name)
    assert load_folder(copy) == (ALICE, TRUST)
    second = issue()
    second.save(copy, TRUST)
    assert load_folder(copy) == (second, TRUST)
    assert (copy / "tls.key").is_symlink()
    assert any(path.read_bytes() == ALICE.key_pem() for path in copy.glob("..*/tls.key"))


def test_a_file_put_in_the_place_of_a_link_counts(tmp_path: Path) -> None:
    """A bundle that somebody moved over the link is the one that is read, and the next save replaces it."""
    folder = tmp_path / "alice"
    ALICE.save(folder, TRUST)
    other = CertificateAuthority.create("Another", KeyType.P256.generate(), now=NOW)
    both = TRUST.adding(other.certificate)
    (tmp_path / "new").write_bytes(both.to_pem())
    (tmp_path / "new").rename(folder / "ca.crt")
    assert load_folder(folder) == (ALICE, both)
    ALICE.save(folder, TRUST)
    assert load_folder(folder) == (ALICE, TRUST)


def test_a_mounted_kubernetes_secret_is_read(tmp_path: Path) -> None:
    """The layout of the AtomicWriter: dated versions behind ..data."""
    version = tmp_path / "..2026_11_23_12_00_00.123456789"
    version.mkdir()
    (version / "tls.crt").write_bytes(ALICE.chain_pem())
    (version / "tls.key").write_bytes(ALICE.key_pem())
    (version / "tls.key").chmod(0o400)
    (version / "ca.crt").write_bytes(TRUST.to_pem())
    (tmp_path / "..data").symlink_to(version.name)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert load_folder(tmp_path) == (ALICE, TRUST)
    assert locate(tmp_path).key == version / "tls.key"


def test_readers_see_one_version_while_it_is_replaced(tmp_path: Path) -> None:
    """Fifty rotations under way: every read is a matching pair, and the folder of one version."""
    folder = tmp_path / "alice"
    ALICE.save(folder, TRUST)
    seen, failed, done = set(), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(load_folder(folder)[0].leaf.serial_number)
            except PKIError as error:
                failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for credential in [issue() for _ in range(50)]:
        credential.save(folder, TRUST)
    done.set()
    reader.join()
    assert not failed
    assert len(seen) > 3


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(bits: int, tmp_path: Path) -> None:
    """Any permission of group or others; the message names the chmod that mends it, and it does."""
    ALICE.save(tmp_path / "alice", TRUST)
    key = (tmp_path / "alice" / "tls.key").resolve()
    key.chmod(bits)
    with pytest.raises(InsecurePermissions, match=f"{bits:04o}") as caught:
        load_folder(tmp_path / "alice")
    assert caught.value.mode == bits
    command = str(caught.value).partition("`")[2].partition("`")[0]
    assert command == f"chmod 600 {key}"
    subprocess.run(command.split(), check=True)
    assert load_folder(tmp_path / "alice") == (ALICE, TRUST)


@pytest.mark.parametrize(
    ("owner", "us", "bits", "allowed"),
    [
        (0, 1000, 0o640, True),
        (0, 1000, 0o440, True),
        (0, 1000, 0o644, False),
        (0, 1000, 0o660, False),
        (0, 0, 0o640, False),
        (1000, 0, 0o600, True),
        (1000, 0, 0o640, False),
        (1000, 1000, 0o400, True),
        (1001, 1000, 0o600, False),
    ],
)
def test_who_may_own_a_key(owner: int, us: int, bits: int, allowed: bool) -> None:
    """PostgreSQL's rule: ours and closed, or root's and at most readable by our group."""
    assert is_private(bits, owner=owner, us=us) == allowed


def test_a_key_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A named pipe would block, a folder has no bytes: CredentialError."""
    folder = tmp_path / "alice"
    folder.mkdir()
    (folder / "tls.crt").write_bytes(ALICE.chain_pem())
    os.mkfifo(folder / "tls.key", 0o600)
    with pytest.raises(CredentialError, match="not a plain file"):
        Credential.load(folder)
    (folder / "tls.key").unlink()
    (folder / "tls.key").mkdir()
    with pytest.raises(CredentialError, match="not a plain file"):
        Credential.load(folder)


def broken(tmp_path: Path, name: str, data: bytes | None) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    content = {"tls.crt": ALICE.chain_pem(), "tls.key": ALICE.key_pem(), "ca.crt": TRUST.to_pem()} | {name: data}
    for file, value in content.items():
        if value is not None:
            (folder / file).write_bytes(value)
            (folder / file).chmod(0o600)
    return folder


ENCRYPTED = ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
OF_ANOTHER_KIND = ed448.Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("tls.crt", None, "holds no tls.crt"),
        ("tls.crt", b"", "no PEM certificate"),
        ("tls.crt", b"garbage", "no PEM certificate"),
        ("tls.key", None, "No such file"),
        ("tls.key", b"", "no private key"),
        ("tls.key", b"garbage", "no private key"),
        ("tls.key", issue().key_pem(), "does not belong"),
        ("tls.key", issue(KeyType.ED25519).key_pem(), "does not belong"),
        ("tls.key", ENCRYPTED, "openssl pkey"),
        ("tls.key", OF_ANOTHER_KIND, "not supported"),
        ("ca.crt", None, "cannot be read"),
        ("ca.crt", b"", "no PEM certificate"),
        ("ca.crt", ALICE.chain_pem(), "no authority"),
    ],
)
def test_a_folder_that_cannot_be_used(name: str, data: bytes | None, reason: str, tmp_path: Path) -> None:
    """Each of the three files missing, empty, garbage or another's: one line that names the folder."""
    folder = broken(tmp_path, name, data)
    with pytest.raises((CredentialError, TrustError), match=reason) as caught:
        load_folder(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    """Missing, or a file: the message says how to make one."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(CredentialError, match="handclasp-pki issue"):
            load_folder(folder)


def test_a_save_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk after any of the files: the old credential stays, a new folder does not appear."""
    folder, second = tmp_path / "alice", issue()
    ALICE.save(folder, TRUST)
    before = listing(folder)
    real = os.fsync
    for last in range(4):
        calls = iter(range(100))

        def full(descriptor: int, calls: object = calls, last: int = last) -> None:
            if next(calls) >= last:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(files.os, "fsync", full)
        for target in (folder, tmp_path / "new"):
            with pytest.raises(CredentialError, match="No space left"):
                second.save(target, TRUST)
        monkeypatch.setattr(files.os, "fsync", real)
        assert listing(folder) == before
        assert listing(tmp_path) == ["alice"]
        assert load_folder(folder) == (ALICE, TRUST)


def test_a_save_into_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the folder's place, or in its parent's: one line."""
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "alice"):
        with pytest.raises(CredentialError, match="cannot be written"):
            ALICE.save(folder, TRUST)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_self_signed_pair_is_its_own_authority(tmp_path: Path) -> None:
    """cert.pem and key.pem alone are a credential and the trust bundle in one; a ca.crt beside them is used."""
    names = Names.parse("self", emails=["alice@example.com"], dns_names=["localhost"])
    lifetime = NOW.resolution * 10**12
    made = write_self_signed(tmp_path / "pair", names, KeyType.P256, now=NOW, lifetime=lifetime)
    credential, trust = load_folder(tmp_path / "pair")
    assert credential == made
    assert list(trust) == [made.leaf]
    (tmp_path / "pair" / "ca.crt").write_bytes(TRUST.to_pem())
    assert load_folder(tmp_path / "pair")[1] == TRUST


def test_an_issued_pair_without_its_authority_is_refused(tmp_path: Path) -> None:
    """cert.pem that signed nothing, not even itself, is no trust bundle."""
    (tmp_path / "cert.pem").write_bytes(ALICE.chain_pem())
    (tmp_path / "key.pem").write_bytes(ALICE.key_pem())
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(TrustError, match=r"holds no ca\.crt"):
        load_folder(tmp_path)


def test_the_relying_half_needs_cryptography_alone() -> None:
    """Servers and clients import what verifying takes, and with them no typer, rich, idna nor anything that issues."""
    code = (
        "import sys, pki.credential, pki.trust, pki.identity, pki.errors;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)));"
        "print(*sorted(name for name in sys.modules if name.startswith('pki.')))"
    )
    packages, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "cryptography" in packages.split()
    assert not {"typer", "rich", "idna", "click", "pydantic", "OpenSSL", "httpx", "h2"} & set(packages.split())
    assert modules.split() == [
        "pki.credential", "pki.crl", "pki.errors", "pki.files", "pki.folder", "pki.identity", "pki.pem", "pki.serials",
        "pki.trust",
    ]  # fmt: skip
