"""A credential that cannot be used changes nothing: the one before it goes on serving, until a good one comes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.issuer import SERVER, Issued, Issuer
from tests.support.server import Server, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCALHOST = (x509.DNSName("localhost"),)


def _mismatched(issuer: Issuer) -> Issued:
    one, other = (issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,)) for _ in range(2))
    return Issued(one.certificate, other.key, one.trust)


BAD: dict[str, Callable[[Issuer], Issued]] = {
    "weak key": lambda ca: ca.issue(
        "localhost", san=LOCALHOST, purposes=(SERVER,), key=rsa.generate_private_key(65537, 1024)
    ),
    "another key": _mismatched,
    "a client's": lambda ca: ca.issue("localhost", san=LOCALHOST),
    "a trust anchor that is no authority": lambda ca: ca.issue(
        "localhost", san=LOCALHOST, purposes=(SERVER,), trust=ca.issue().certificate
    ),
}


@pytest.fixture(scope="module")
def own(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reload")
    issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,)).save(folder / "localhost")
    issuer.issue().save(folder / "alice")
    server = Server(folder, folder / "localhost", folder / "alice")
    assert server.port
    yield server
    server.stop()


def put(server: Server, issued: Issued, staging: Path) -> None:
    """Overwrite the files of the credential folder, one after the other, as people do."""
    issued.save(staging)
    for name in ("tls.key", "tls.crt", "ca.crt"):
        (staging / name).replace(server.credential / name)
    shutil.rmtree(staging)


def presented(server: Server) -> bytes:
    with server.h1() as line:
        assert line.get().status == 200
        return line.sock.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("case", [*BAD, "garbage", "half a file", "no file", "a folder in its place"])
def test_bad_credential_then_a_good_one(own: Server, issuer: Issuer, tmp_path: Path, case: str) -> None:
    """The bad one is reported in one line; a second later the good one is served."""
    before, after = presented(own), own.log_end()
    certificate = own.credential / "tls.crt"
    if case in BAD:
        put(own, BAD[case](issuer), tmp_path / "bad")
    elif case == "garbage":
        certificate.write_bytes(os.urandom(500))
    elif case == "half a file":
        certificate.write_bytes(certificate.read_bytes()[:300])
    else:
        certificate.unlink()
        if case == "a folder in its place":
            certificate.mkdir()
    own.logged("reload refused", after)
    assert presented(own) == before
    if certificate.is_dir():
        certificate.rmdir()
    good = issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,))
    put(own, good, tmp_path / "good")
    eventually(lambda: presented(own) != before)
    assert "Traceback" not in own.log(after)
