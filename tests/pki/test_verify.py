"""`verify`: every reason why our server would not accept a certificate; openssl agrees where it has an opinion."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pki.cli import main
from pki.identity import Purpose
from pki.trust import TrustBundle
from pki.verification import objections, path_of
from tests.support.issuer import CLIENT, SERVER, Issued, Issuer
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CA, FOREIGN, SAME_NAME = Issuer(), Issuer("Foreign CA"), Issuer()
DAY = timedelta(days=1)

# What it is, and the words of the refusal; None: accepted.
CASES: dict[str, tuple[Issued, str | None]] = {
    "good": (CA.issue(), None),
    "expired": (CA.issue(valid_from=-2 * DAY, valid_for=DAY), "has expired on"),
    "not yet valid": (CA.issue(valid_from=DAY), "is not valid before"),
    "foreign": (FOREIGN.issue(), "no authority of the bundle signed it"),
    "same name, another key": (SAME_NAME.issue(), "no authority of the bundle signed it"),
    "no purpose": (CA.issue(purposes=()), "clientAuth is not among"),
    "a server's": (CA.issue(purposes=(SERVER,)), "clientAuth is not among"),
    "an authority": (CA.issue(ca=True, signs_certificates=True), "those sign, they do not call"),
    "weak key": (CA.issue(key=rsa.generate_private_key(65537, 1024)), "weak key: RSA with 1024 bits"),
    "NUL in its name": (CA.issue(san=(x509.RFC822Name("a@x.io\0.evil"),)), "NUL or control characters"),
    "nameless": (CA.issue(san=()), "names nobody"),
}


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and who it is, or exit 1 and the reason."""
    issued, words = CASES[case]
    folder = issued.save(tmp_path / "c")
    bundle = tmp_path / "ca.crt"
    bundle.write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    code = main(["verify", str(folder / "tls.crt"), "--ca", str(bundle)])
    said = capsys.readouterr().out
    assert code == (0 if words is None else 1)
    assert (words or "accepted: a server of ours would take it as alice@example.com") in said


@pytest.mark.parametrize("case", ["good", "expired", "not yet valid", "foreign", "same name, another key"])
def test_openssl_agrees(case: str, tmp_path: Path) -> None:
    openssl = require("openssl")
    issued, words = CASES[case]
    folder = issued.save(tmp_path / "c")
    (tmp_path / "ca.crt").write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    command = [openssl, "verify", "-CAfile", str(tmp_path / "ca.crt"), str(folder / "tls.crt")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode == 0) is (words is None)


def test_every_reason_is_said() -> None:
    """Not the first alone: who mends one wants to know the next."""
    bad = FOREIGN.issue(purposes=(SERVER,), san=(), valid_from=-2 * DAY, valid_for=DAY)
    found = objections((bad.certificate,), TrustBundle((CA.certificate,)), Purpose.CLIENT, datetime.now(UTC))
    assert len(found) == 4


def test_a_server_s() -> None:
    server = CA.issue("localhost", san=(x509.DNSName("localhost"),), purposes=(SERVER,))
    both = CA.issue(purposes=(SERVER, CLIENT))
    trust = TrustBundle((CA.certificate,))
    assert not objections((server.certificate,), trust, Purpose.SERVER, datetime.now(UTC))
    assert not objections((both.certificate,), trust, Purpose.SERVER, datetime.now(UTC))
    assert objections((CA.issue().certificate,), trust, Purpose.SERVER, datetime.now(UTC))


def test_a_path_that_turns_in_circles_ends() -> None:
    """Certificates that were put into a chain to keep us busy lead nowhere."""
    others = [FOREIGN.certificate, SAME_NAME.certificate] * 3
    assert path_of((FOREIGN.issue().certificate, *others), TrustBundle((CA.certificate,))) is None


@pytest.fixture
def pki(tmp_path: Path, inventory_url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `handclasp-pki`; return what it said, and fail where its exit code is another than `fails`."""

    def run(*words: str, fails: int = 0) -> str:
        capsys.readouterr()
        code = main(["--state", str(tmp_path / "state"), "--database", inventory_url, *words])
        said = capsys.readouterr()
        assert code == fails, said
        return said.out + said.err

    run("init")
    run("issue", "client", "alice", "--email", "alice@example.com")
    run("issue", "server", "localhost")
    return run


def test_it_agrees_with_openssl_through_a_certificate_s_life(pki: Callable[..., str], tmp_path: Path) -> None:
    """Good, held, released, renewed, revoked: by the inventory, by the list, and by `openssl verify -crl_check`."""
    openssl = require("openssl")
    state = tmp_path / "state"
    certificate = state / "credentials/alice/tls.crt"
    pki("crl")

    def agree(*, good: bool) -> None:
        pki("verify", str(certificate), fails=0 if good else 1)
        trust = ("--ca", str(state / "authority/ca.crt"), "--crl", str(state / "ca.crl"))
        pki("verify", str(certificate), *trust, fails=0 if good else 1)
        command = [openssl, "verify", "-crl_check", "-CAfile", "authority/ca.crt", "-CRLfile", "ca.crl"]
        done = subprocess.run([*command, str(certificate)], cwd=state, capture_output=True, check=False)
        assert (done.returncode == 0) is good

    agree(good=True)
    pki("revoke", "--name", "alice", "--reason", "certificateHold", "--yes")
    agree(good=False)
    pki("unhold", "--name", "alice")
    agree(good=True)
    pki("renew", "alice")
    agree(good=True)
    pki("revoke", "--name", "alice", "--all", "--yes")
    agree(good=False)
    assert "revoked (unspecified)" in pki("verify", str(certificate), fails=1)


def test_json(pki: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "state/credentials"
    said = json.loads(pki("verify", str(folder / "alice"), "--json"))
    assert (said["accepted"], said["identity"], said["reasons"]) == (True, "alice@example.com", [])
    said = json.loads(pki("verify", str(folder / "localhost"), "--json", fails=1))
    assert said["accepted"] is False
    assert said["reasons"]
    pki("verify", str(folder / "localhost"), "--purpose", "server")


def test_a_stale_list_is_a_reason(pki: Callable[..., str], tmp_path: Path) -> None:
    """Servers let nobody in then, so nobody is accepted."""
    import time

    pki("crl", "--next-update", "1s")
    time.sleep(1.1)
    assert "is stale since" in pki("verify", str(tmp_path / "state/credentials/alice"), fails=1)


@pytest.mark.parametrize("words", [("/nonexistent",), ("/dev/null",), ("/dev/null", "--ca", "/dev/null")])
def test_what_cannot_be_read(pki: Callable[..., str], words: tuple[str, ...]) -> None:
    assert len(pki("verify", *words, fails=1).strip().splitlines()) == 1
