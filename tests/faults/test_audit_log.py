"""The audit log: who came, who was refused and why, what changed; whole lines, nothing secret."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.issuer import Issuer
from tests.support.server import Server, eventually
from tests.support.trust import Client, Trusting, trusting
from tests.support.wire import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("audit"), "--workers", "2") as made:
        yield made


def test_who_comes_and_goes(there: Trusting) -> None:
    """Opened and closed, with identity, serial, fingerprint, address, and how much was asked."""
    tina = there.client("tina")
    with tina.h2() as wire:
        assert [wire.get().status for _ in range(3)] == [200] * 3
    opened = there.audited("connection.opened", identity="tina@example.com")[0]
    closed = there.audited("connection.closed", identity="tina@example.com")[0]
    assert opened["serial"] == closed["serial"] == format(tina.serial, "x")
    assert opened["sha256"] == tina.issued.certificate.fingerprint(hashes.SHA256()).hex()
    assert opened["address"].startswith("127.0.0.1:")
    assert (opened["tls"], opened["alpn"]) == ("TLSv1.3", "h2")
    assert closed["requests"] == 3
    assert closed["seconds"] >= 0
    assert opened["time"] <= closed["time"]


def test_who_is_refused(there: Trusting) -> None:
    """Why, from where, and what was presented: subject, names, serial, fingerprint; nothing, where nothing was."""
    mallory = there.client("mallory", issuer=Issuer("Foreign CA"))
    with pytest.raises((ssl.SSLError, Ended, OSError)), mallory.h1() as line:
        line.recv()
    found = there.audited("handshake.refused", reason="unable to get local issuer certificate")[0]
    assert found["presented"] == {
        "subject": "CN=mallory",
        "names": "mallory@example.com",
        "serial": format(mallory.serial, "x"),
        "sha256": mallory.issued.certificate.fingerprint(hashes.SHA256()).hex(),
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(mallory.folder / "ca.crt")
    with (
        pytest.raises((ssl.SSLError, OSError)),
        socket.create_connection(("127.0.0.1", there.server.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as nobody,
    ):
        nobody.recv(1)
        raise ssl.SSLError
    assert there.audited("handshake.refused", presented=None)


def test_a_hostile_name_cannot_break_a_line(there: Trusting) -> None:
    """Line breaks, quotes and control characters of a certificate are escaped, and long ones are cut."""
    evil = x509.RFC822Name('a@x.io\0\n{"event": "connection.opened"}' + "y" * 5_000)
    issued = there.issuer.issue("evil", san=(evil,))
    folder = issued.save(there.folder / "evil")
    assert Client(folder, issued, there.server.port).refusal() != "let in"
    eventually(lambda: "CN=evil" in there.audit_log.read_text())
    lines = [json.loads(line) for line in there.audit_log.read_text().rpartition("\n")[0].splitlines()]
    (found,) = [line for line in lines if (line.get("presented") or {}).get("subject") == "CN=evil"]
    assert len(found["presented"]["names"]) <= 1_024
    assert not [line for line in lines if line.get("identity", "").startswith("a@x.io")]


def test_whole_lines_of_several_workers(there: Trusting) -> None:
    """Both write into one file; every line is JSON with its time, its event and its process."""
    ursula = there.client("ursula")
    for _ in range(40):
        with ursula.h1() as line:
            assert line.get("/?secret=hunter2", more="authorization: Bearer hunter2\r\n").status == 200

    def entries() -> list[dict]:
        return [json.loads(line) for line in there.audit_log.read_text().rpartition("\n")[0].splitlines()]

    eventually(lambda: sum(e["event"] == "connection.closed" for e in entries()) >= 40)
    assert all({"time", "event", "pid"} <= set(entry) for entry in entries())
    assert len({entry["pid"] for entry in entries()}) == 2
    for secret in ("hunter2", "PRIVATE KEY", "secret="):
        assert secret not in there.audit_log.read_text()


@pytest.mark.parametrize("how", ["rename", "rename and SIGHUP", "remove"])
def test_rotation(there: Trusting, how: str) -> None:
    """Renamed or removed, as logrotate does it, the next line begins a new file, and none is lost."""
    victor = there.client("victor")
    old = there.audit_log.with_name(f"audit.{how.replace(' ', '-')}")
    if how == "remove":
        there.audit_log.unlink()
    else:
        there.audit_log.rename(old)
    if "SIGHUP" in how:
        there.server.signal(signal.SIGHUP)
    with victor.h1() as line:
        assert line.get().status == 200
    serial = format(victor.serial, "x")
    eventually(there.audit_log.exists)
    there.audited("connection.opened", serial=serial)
    there.audited("connection.closed", serial=serial)
    assert there.audit_log.stat().st_mode & 0o007 == 0, "others cannot read it"


def test_to_stderr(tmp_path: Path) -> None:
    with trusting(tmp_path, "--audit-log", "-") as there:
        with there.client("wendy").h1() as line:
            assert line.get().status == 200
        found = there.server.logged('"connection.opened"')[0]
        assert json.loads(found)["identity"] == "wendy@example.com"


@pytest.mark.parametrize("where", ["nowhere/audit.jsonl", "."])
def test_a_file_that_cannot_be_written(tmp_path: Path, where: str) -> None:
    """One line, exit 1, and nothing listens."""
    issuer = Issuer()
    there = Trusting.__new__(Trusting)
    there.issuer = issuer
    credential = there.issue_server().save(tmp_path / "localhost")
    server = Server(tmp_path, credential, credential, options=("--audit-log", str(tmp_path / where)))
    assert server.exit_code() == 1
    assert "audit log" in server.log()
    assert len(server.log().strip().splitlines()) == 1
    server.stop()
