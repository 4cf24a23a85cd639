"""Several processes on one port, and credentials that change under a server that runs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from clients import http1, http2
from clients.errors import ClientError
from pki.credential import load_folder
from pki.lifecycle import Request
from pki.names import Names
from pki.profiles import LEAF_PROFILES
from services.transport.source import POLL
from tests.support.issuer import client_context
from tests.support.server import Server, eventually, lives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.lifecycle import Lifecycle


def greet(server: Server) -> None:
    with http2.Client(f"https://localhost:{server.port}", server.client) as client:
        assert client.greet() == "Hello alice@example.com!"


def test_two_workers_share_the_port(start: Callable[..., Server], lifecycle: Lifecycle, folder: Path) -> None:
    """One ready line; each of them answers, with what was rotated under it; SIGTERM ends both, the parent with 0."""
    server = start("--workers", "2", credential=folder)
    assert server.port
    rotate(lifecycle, folder)
    server.logged("reloaded", times=2)
    assert {presented(server) for _ in range(10)} == {serial(folder)}
    pids = server.workers()
    assert len(pids) == 2
    for pid in pids:  # the other one is stopped: this one has to answer
        (other,) = [p for p in pids if p != pid]
        os.kill(other, signal.SIGSTOP)
        try:
            with http1.Client(f"https://localhost:{server.port}", server.client, timeout=2) as client:
                # A stopped process may have taken a connection from the queue before; a retry goes to the other.
                eventually(lambda client=client: _answers(client), 20)
        finally:
            os.kill(other, signal.SIGCONT)
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 0
    assert not any(lives(pid) for pid in pids)
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""  # the ready line was the only one


def _answers(client: http1.Client) -> bool:
    try:
        return client.greet() == "Hello alice@example.com!"
    except ClientError:
        return False


def test_a_killed_worker_is_replaced_and_ctrl_c_drains(start: Callable[..., Server]) -> None:
    """Ctrl-C signals the whole process group; what is being answered then is answered to its end."""
    server = start("--workers", "2", app="tests.conformance._slow_app:app")
    assert server.port
    victim, survivor = sorted(server.workers())
    os.kill(victim, signal.SIGKILL)
    server.logged("worker died")
    eventually(lambda: len(server.workers()) == 2 and victim not in server.workers(), 10)
    (replacement,) = [pid for pid in server.workers() if pid != survivor]
    for _ in range(30):  # while it starts: the parent alone decides what Ctrl-C means
        with suppress(ProcessLookupError):
            os.kill(replacement, signal.SIGINT)
        time.sleep(0.02)
    assert sorted(server.workers()) == sorted([survivor, replacement])
    with server.h1() as line:
        line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        begun = line.recv()
        for pid in (server.process.pid, *server.workers()):
            os.kill(pid, signal.SIGINT)
        line.left += begun
        reply = line.reply()
        assert (reply.whole, bytes(reply.body)) == (True, b"work is done.")
    assert server.exit_code() == 0


def test_workers_do_not_outlive_their_parent(start: Callable[..., Server]) -> None:
    server = start("--workers", "2", app="tests.conformance._slow_app:app")
    assert server.port
    pids = server.workers()
    server.process.kill()
    server.process.wait()
    eventually(lambda: not any(lives(pid) for pid in pids), 10)


@pytest.fixture
def folder(lifecycle: Lifecycle, tmp_path: Path) -> Path:
    """A server's credential of one's own."""
    names = Names.parse(f"own-{os.urandom(4).hex()}", dns_names=["localhost"])
    request = Request(LEAF_PROFILES["server"], names, out=tmp_path / "own")
    return lifecycle.issue(request, now=datetime.now(UTC)).folder


@pytest.fixture
def plain(folder: Path, tmp_path: Path) -> Path:
    """The same as plain files, as somebody copies them."""
    copy = tmp_path / "plain"
    copy.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        shutil.copy(folder / name, copy / name)
    return copy


def presented(server: Server) -> int:
    """The serial number of the certificate that a new connection meets."""
    context = client_context(server.client, trust=server.client / "ca.crt", alpn=("http/1.1",))
    with (
        socket.create_connection(("localhost", server.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number


def serial(folder: Path) -> int:
    return load_folder(folder)[0].leaf.serial_number


def rotate(lifecycle: Lifecycle, folder: Path) -> None:
    (name,) = [entry.record.names.name for entry in lifecycle.entries(now=datetime.now(UTC)) if entry.folder == folder]
    lifecycle.rotate([name], now=datetime.now(UTC))


def test_a_rotated_credential_is_taken_up(start: Callable[..., Server], lifecycle: Lifecycle, folder: Path) -> None:
    """New connections meet the new certificate; one that is open goes on as it was."""
    server = start(credential=folder)
    before = serial(folder)
    with http2.Client(f"https://localhost:{server.port}", server.client) as client:
        assert client.greet()
        assert presented(server) == before
        rotate(lifecycle, folder)
        assert serial(folder) != before
        eventually(lambda: presented(server) == serial(folder))
        assert client.greet()
    assert len(server.logged("reloaded")) == 1


def test_overwritten_files_are_taken_up(
    start: Callable[..., Server], lifecycle: Lifecycle, folder: Path, plain: Path
) -> None:
    """Plain files, written one after the other: the half-changed pair in between serves nobody."""
    server = start(credential=plain)
    assert presented(server) == serial(folder)
    rotate(lifecycle, folder)
    shutil.copy(folder / "tls.crt", plain / "tls.crt")
    time.sleep(0.6)
    assert presented(server) != serial(folder)
    shutil.copy(folder / "tls.key", plain / "tls.key")
    eventually(lambda: presented(server) == serial(folder))


def test_a_swapped_kubernetes_volume_is_taken_up(
    start: Callable[..., Server], lifecycle: Lifecycle, folder: Path, tmp_path: Path
) -> None:
    """Versions in `..2026_...` folders behind `..data`, as the kubelet writes them."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def write(version: str) -> None:
        (volume / version).mkdir()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            shutil.copy(folder / name, volume / version / name)
        (volume / "..data_tmp").symlink_to(version)
        (volume / "..data_tmp").rename(volume / "..data")

    write("..2026_11_23_10_00_00.1")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (volume / name).symlink_to(f"..data/{name}")
    server = start(credential=volume)
    assert presented(server) == serial(folder)
    rotate(lifecycle, folder)
    write("..2026_11_23_11_00_00.2")
    shutil.rmtree(volume / "..2026_11_23_10_00_00.1")
    eventually(lambda: presented(server) == serial(folder))


def test_a_broken_candidate_changes_nothing(
    start: Callable[..., Server], lifecycle: Lifecycle, folder: Path, plain: Path
) -> None:
    """An empty bundle, a foreign key, one that expired, a folder that is gone: said once, and the old serves on."""
    server = start(credential=plain)
    before = presented(server)
    authority = lifecycle.signer().authority
    names = Names.parse("expired", dns_names=["localhost"])
    key = load_folder(plain)[0].key
    expired = authority.issue(
        LEAF_PROFILES["server"], names, key.public_key(), now=datetime.now(UTC), lifetime=timedelta(seconds=-30)
    ).public_bytes(Encoding.PEM)
    candidates = [
        ("ca.crt", b"", "ca.crt"),
        ("tls.key", (lifecycle.state.folder / "credentials" / "alice" / "tls.key").read_bytes(), "key"),
        ("tls.crt", expired, "expired"),
    ]
    for number, (name, broken, words) in enumerate(candidates, 1):
        saved = (plain / name).read_bytes()
        (plain / name).write_bytes(broken)
        assert words in server.logged("reload refused", times=number)[-1]
        assert presented(server) == before
        greet(server)
        time.sleep(2.5 * POLL)  # seen, and said, once
        assert len(server.logged("reload refused")) == number
        (plain / name).write_bytes(saved)
        server.logged("reloaded", times=number)
    plain.rename(plain.with_name("away"))
    server.logged("reload refused", times=4)
    greet(server)
    plain.with_name("away").rename(plain)
    server.logged("reloaded", times=4)
    rotate(lifecycle, folder)
    for name in ("tls.crt", "tls.key"):
        shutil.copy(folder / name, plain / name)
    eventually(lambda: presented(server) == serial(folder))
