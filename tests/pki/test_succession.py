"""One authority after another: at every step whoever talked before still talks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pki.cli import main
from pki.pem import parse_certificates
from tests.support.issuer import client_context
from tests.support.server import Server
from tests.support.tools import require
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

STEPS = ("before", "stage", "activate", "issue again", "retire", "prune")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def pki(state: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `handclasp-pki`; return what it said, and fail where its exit code is another than `fails`."""

    def run(*words: str, fails: int = 0) -> str:
        capsys.readouterr()
        code = main(["--state", str(state), *words])
        said = capsys.readouterr()
        assert code == fails, said.err
        return said.err if fails else said.out

    return run


def set_up(pki: Callable[..., str], *how: str) -> None:
    pki("init", *how)
    pki("issue", "server", "localhost")
    pki("issue", "client", "alice", "--email", "alice@example.com")


def status(pki: Callable[..., str]) -> list[tuple[str, list[str]]]:
    said = json.loads(pki("rotate-ca", "status", "--json"))
    return [(authority["state"], authority["leaves_left"]) for authority in said["authorities"]]


def bundle(state: Path, name: str = "alice") -> int:
    return len(parse_certificates((state / "credentials" / name / "ca.crt").read_bytes()))


@pytest.mark.parametrize("how", [(), ("--intermediate",)], ids=["root", "intermediate"])
@pytest.mark.parametrize("lists", [False, True], ids=["without lists", "with lists"])
def test_neighbouring_steps_talk(pki: Callable[..., str], state: Path, tmp_path: Path, how: tuple, lists: bool) -> None:
    """Servers and clients of any mixture of before and after a step: every pair is tried, over real mutual TLS."""
    set_up(pki, *how)
    if lists:
        pki("crl")
    for number, step in enumerate(STEPS):
        if step == "issue again":
            pki("rotate", "--all")
        elif step != "before":
            pki("rotate-ca", step)
        shutil.copytree(state / "credentials", tmp_path / str(number), symlinks=True)
    for number in range(len(STEPS)):
        folder = tmp_path / str(number)
        server = Server(folder, folder / "localhost", folder / "alice", "services.app:app")
        try:
            for other in {max(number - 1, 0), number, min(number + 1, len(STEPS) - 1)}:
                client = tmp_path / str(other) / "alice"
                with Wire(server.port, client_context(client, trust=client / "ca.crt")) as wire:
                    reply = wire.get("/")
                assert bytes(reply.body) == b"Hello alice@example.com!", (STEPS[number], STEPS[other])
        finally:
            server.stop()


def test_the_steps_and_what_they_do(pki: Callable[..., str], state: Path) -> None:
    """The table: staged is trusted, active signs, retiring tells who is left, retired is in no bundle."""
    set_up(pki)
    assert status(pki) == [("active", ["alice", "localhost"])]
    pki("rotate-ca", "stage")
    assert status(pki)[-1] == ("staged", [])
    assert bundle(state) == bundle(state, "localhost") == 2
    pki("issue", "client", "bob", "--email", "bob@example.com")
    assert status(pki)[0] == ("active", ["alice", "bob", "localhost"]), "the first one signs still"
    pki("rotate-ca", "activate")
    pki("issue", "client", "carol", "--email", "carol@example.com")
    assert status(pki) == [("active", ["carol"]), ("active", ["alice", "bob", "localhost"])]
    assert "alice, bob, localhost" in pki("rotate-ca", "retire")
    assert status(pki)[-1][0] == "retiring"
    assert "alice, bob, localhost" in pki("rotate-ca", "prune", fails=1)
    assert bundle(state) == 2
    pki("rotate", "alice", "localhost")
    pki("revoke", "--name", "bob", "--yes")
    pki("rotate-ca", "prune")
    assert status(pki) == [("active", ["alice", "carol", "localhost"]), ("retired", [])]
    assert bundle(state) == bundle(state, "carol") == 1
    entries = json.loads(pki("list", "--json"))
    assert {entry["state"] for entry in entries if entry["name"] == "alice"} == {"valid", "orphaned"}


def test_illegal_steps_name_the_legal_one(pki: Callable[..., str]) -> None:
    set_up(pki)
    legal = ["stage", "activate", "retire", "prune"]
    for step in legal:
        for other in legal:
            if other != step:
                assert f"next step is `rotate-ca {step}`" in pki("rotate-ca", other, fails=1)
        if step == "prune":
            pki("rotate", "--all")
        pki("rotate-ca", step)
    assert "next step is `rotate-ca stage`" in pki("rotate-ca", "prune", fails=1)


def test_all_at_once(pki: Callable[..., str], state: Path) -> None:
    """--now: the leaves are the new authority's, and the old one is in no bundle; openssl agrees; again and again."""
    openssl = require("openssl")
    set_up(pki)
    pki("crl")
    for generation in (2, 3):
        pki("rotate-ca", "--now", "--settle", "1s")
        assert status(pki)[0] == ("active", ["alice", "localhost"])
        assert bundle(state) == 1
        credential = state / "credentials/alice"
        subprocess.run(
            [openssl, "verify", "-x509_strict", "-crl_check", "-CAfile", "ca.crt", "-CRLfile", "ca.crl", "tls.crt"],
            cwd=credential,
            check=True,
            capture_output=True,
        )
        (leaf,) = parse_certificates((credential / "tls.crt").read_bytes())
        assert leaf.issuer.rfc4514_string() == f"CN=Handclasp CA {generation}"


def test_all_that_are_left(pki: Callable[..., str], state: Path) -> None:
    """--now goes on from wherever a replacement was cut off, or taken by hand."""
    set_up(pki)
    for taken in (["stage"], ["stage", "activate"], ["stage", "activate", "retire"]):
        for step in taken:
            pki("rotate-ca", step)
        pki("rotate-ca", "--now", "--settle", "1s")
        assert status(pki)[0] == ("active", ["alice", "localhost"])
        assert {standing for standing, _ in status(pki)[1:]} == {"retired"}
        assert bundle(state) == 1


def test_what_is_revoked_stays_so(pki: Callable[..., str], state: Path) -> None:
    """A rotation issues nobody again who was revoked, and an authority has its list for as long as it is trusted."""
    set_up(pki)
    pki("revoke", "--name", "alice", "--yes")
    pki("rotate-ca", "stage")
    pki("rotate-ca", "activate")
    assert (state / "ca.crl").read_text().count("BEGIN X509 CRL") == 2
    pki("rotate", "localhost")
    pki("rotate-ca", "retire")
    pki("rotate-ca", "prune")
    assert (state / "credentials/localhost/ca.crl").read_text().count("BEGIN X509 CRL") == 1
    assert {entry["state"] for entry in json.loads(pki("list", "--json", "--name", "alice"))} == {"revoked"}


def test_an_intermediate(pki: Callable[..., str], state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root's key is encrypted and needed no more; the chain travels with the leaf; the root alone is trusted."""
    openssl = require("openssl")
    monkeypatch.setenv("HANDCLASP_ROOT_PASSPHRASE", "correct horse")
    set_up(pki, "--intermediate", "--name", "Example CA")
    root_key = state / "authority/root.key"
    assert b"ENCRYPTED" in root_key.read_bytes()
    subprocess.run([openssl, "pkey", "-in", str(root_key), "-passin", "pass:correct horse", "-noout"], check=True)
    root_key.unlink()
    pki("rotate", "--all")
    pki("crl")
    credential = state / "credentials/alice"
    chain = parse_certificates((credential / "tls.crt").read_bytes())
    assert [certificate.subject.rfc4514_string() for certificate in chain] == ["CN=alice", "CN=Example CA Issuing"]
    (anchor,) = parse_certificates((credential / "ca.crt").read_bytes())
    assert anchor.subject.rfc4514_string() == "CN=Example CA"
    verify = [openssl, "verify", "-x509_strict", "-CAfile", "ca.crt", "-untrusted", "tls.crt"]
    subprocess.run([*verify, "-crl_check", "-CRLfile", "ca.crl", "tls.crt"], cwd=credential, check=True)


def test_a_made_up_root_passphrase_is_shown_once(pki: Callable[..., str], state: Path) -> None:
    """And opens the key."""
    openssl = require("openssl")
    said = pki("init", "--intermediate")
    shown = next(line for line in said.splitlines() if "shown this once" in line).rpartition(" ")[2]
    opens = [openssl, "pkey", "-in", str(state / "authority/root.key"), "-noout", "-passin"]
    subprocess.run([*opens, f"pass:{shown}"], check=True)
    assert subprocess.run([*opens, "pass:wrong"], capture_output=True, check=False).returncode


def test_an_authority_s_folder_that_is_gone_is_said(pki: Callable[..., str], state: Path, tmp_path: Path) -> None:
    """The one before it does not sign in its place, as if nothing had happened."""
    set_up(pki)
    pki("rotate-ca", "stage")
    pki("rotate-ca", "activate")
    (state / "authority-2").rename(tmp_path / "away")
    for words in (
        ["issue", "client", "bob", "--email", "bob@example.com"],
        ["renew", "alice"],
        ["revoke", "--name", "alice", "--yes"],
        ["crl"],
    ):
        said = pki(*words, fails=1)
        assert said.count("\n") == 1
        assert f"Handclasp CA 2, which signs, is missing: put {state / 'authority-2'} back from a copy" in said
    (finding,) = json.loads(_doctor(state))["findings"]
    assert str(state / "authority-2") in finding["message"]
    assert {row["state"] for row in json.loads(pki("list", "--json"))} == {"valid"}
    (tmp_path / "away").rename(state / "authority-2")
    pki("issue", "client", "bob", "--email", "bob@example.com")
    assert json.loads(_doctor(state))["findings"] == []


def _doctor(state: Path) -> str:
    command = [sys.executable, "-m", "pki", "--state", str(state), "doctor", "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
