"""The article's one-command certificate: authority, server and client in one file, accepted by all of ours."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from clients import http1, http2
from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("self-signed")
    subprocess.run([sys.executable, "-m", "pki", "self-signed"], cwd=made, check=True, timeout=30)
    return made


def test_one_file_serves_and_calls(folder: Path, start: Callable[..., Server]) -> None:
    """P-521; `cert.pem` is server, client and CA for server, clients and curl, with TLS 1.2's one suite too."""
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp521r1"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    server = start(credential=folder)
    url = f"https://localhost:{server.port}"
    for module in (http1, http2):
        with module.Client(url, folder) as client:
            assert client.greet() == "Hello alice@example.com!"
    words = [require("curl"), "--silent", "--fail", "--tls-max", "1.2", "--cacert", folder / "cert.pem"]
    words += ["--cert", folder / "cert.pem", "--key", folder / "key.pem", f"{url}/whoami"]
    printed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert '"cipher": "ECDHE-ECDSA-AES256-GCM-SHA384"' in printed
