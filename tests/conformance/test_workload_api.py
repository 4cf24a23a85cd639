"""Credentials from a SPIFFE Workload API: a real one by gRPC on a Unix socket, and our server behind them."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from clients import http2
from clients.errors import ClientError, CredentialProblem, TimedOut
from clients.pools import LOOK
from clients.workload import WorkloadCredential
from pki.credential import Credential
from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.tools import ours
from tests.support.trust import trusting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.issuer import Issued

pytest.importorskip("spiffe", reason="needs the spiffe package: pip install 'handclasp[spiffe]'")

from tests.support.workload_api import agent

WEB = "spiffe://example.org/web"


def svid(issuer: Issuer) -> Issued:
    return issuer.issue("web", san=(x509.UniformResourceIdentifier(WEB),), trust=issuer.certificate)


def serial_in(folder: Path) -> int:
    return Credential.load(folder).leaf.serial_number


def test_what_the_agent_gives_is_presented(tmp_path: Path) -> None:
    """And what it gives next, without a restart."""
    folder, socket = tmp_path / "web", tmp_path / "agent.sock"
    with trusting(tmp_path / "server", app="services.app:app") as there, agent(socket) as given:
        first, second = svid(there.issuer), svid(there.issuer)
        given.give(first, WEB, there.issuer.certificate)
        with (
            WorkloadCredential(folder, f"unix://{socket}"),
            http2.Client(f"https://localhost:{there.server.port}", folder) as session,
        ):
            assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
            assert session.whoami().uris == (WEB,)
            assert session.whoami().serial == f"{first.certificate.serial_number:x}"
            given.give(second, WEB, there.issuer.certificate, Issuer().certificate)
            eventually(lambda: serial_in(folder) == second.certificate.serial_number)
            time.sleep(LOOK)
            assert session.whoami().serial == f"{second.certificate.serial_number:x}"
        assert serial_in(folder) == second.certificate.serial_number, "the folder stays"


def test_the_command(tmp_path: Path) -> None:
    """Until SIGTERM; nothing but what happened is printed."""
    folder, socket, issuer = tmp_path / "web", tmp_path / "agent.sock", Issuer()
    words = [ours("handclasp-http2"), "workload", "--socket", f"unix://{socket}", "--out", str(folder)]
    with agent(socket) as given:
        given.give(svid(issuer), WEB, issuer.certificate)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
            eventually(folder.exists)
            time.sleep(0.2)
            daemon.send_signal(signal.SIGTERM)
            out, err = daemon.communicate(timeout=30)
    assert (daemon.returncode, err) == (0, "")
    assert out.startswith(f"took {WEB} into {folder}, until ")


def test_an_agent_that_goes_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What there is goes on, and when the agent is back, what it gives is taken."""
    caplog.set_level(logging.INFO, "handclasp.workload")
    folder, socket, issuer = tmp_path / "web", tmp_path / "agent.sock", Issuer()
    with agent(socket) as given:
        given.give(svid(issuer), WEB, issuer.certificate)
        credential = WorkloadCredential(folder, f"unix://{socket}").start()
    try:
        kept = serial_in(folder)
        time.sleep(0.5)
        assert serial_in(folder) == kept
        with agent(socket) as again:
            again.give(svid(issuer), WEB, issuer.certificate)
            eventually(lambda: serial_in(folder) != kept, 20)
    finally:
        credential.stop()


def test_no_agent_no_answer_no_sense(tmp_path: Path) -> None:
    """Said in one line, and nothing is written."""
    folder, socket = tmp_path / "web", tmp_path / "agent.sock"
    with pytest.raises(ClientError) as caught:
        WorkloadCredential(folder, f"unix://{tmp_path}/none.sock").start(1)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ClientError, match="name its socket"):
        WorkloadCredential(folder, "http://localhost")
    with agent(socket) as given:
        with pytest.raises(TimedOut, match="is there an entry"):
            WorkloadCredential(folder, f"unix://{socket}").start(0.5)
        issuer = Issuer()
        given.give(svid(issuer), WEB, svid(issuer).certificate)  # a bundle of no authority
        with pytest.raises((CredentialProblem, ClientError)):
            WorkloadCredential(folder, f"unix://{socket}").start(3)
    assert not folder.exists()
