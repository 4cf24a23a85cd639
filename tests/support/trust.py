"""A server whose trust changes while it serves: its folder, its authority, and as many clients as a test wants."""

from __future__ import annotations

import itertools
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cryptography import x509

from tests.support.audited import audited
from tests.support.issuer import SERVER, Issued, Issuer, client_context
from tests.support.server import Server
from tests.support.wire import Ended, Wire
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

LOCALHOST = (x509.DNSName("localhost"),)


class Client:
    """Somebody with a certificate of their own."""

    def __init__(self, folder: Path, issued: Issued, port: int) -> None:
        self.folder, self.issued, self.port = folder, issued, port
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def serial(self) -> int:
        return self.issued.certificate.serial_number

    def context(self, alpn: str) -> ssl.SSLContext:
        if alpn not in self._contexts:
            self._contexts[alpn] = client_context(self.folder, trust=self.folder / "ca.crt", alpn=(alpn,))
        return self._contexts[alpn]

    def h2(self, **options: int) -> Wire:
        return Wire(self.port, self.context("h2"), **options)

    def h1(self, **options: int) -> Line1:
        return Line1(self.port, self.context("http/1.1"), **options)

    def refusal(self) -> str:
        """The words of the alert that refuses this client; `let in` where none does."""
        try:
            with self.h1() as line:
                line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                line.recv()
        except Ended as error:
            return str(error)
        except ssl.SSLError as error:
            return error.reason or str(error)
        return "let in"


class Trusting:
    """A server, and what it trusts."""

    def __init__(self, folder: Path, *options: str, app: str = "tests.faults._app:app", **environment: str) -> None:
        self.folder, self.issuer = folder, Issuer()
        self._numbers = itertools.count(1)
        self.audit_log = folder / "audit.jsonl"
        self.credential = self.issue_server().save(folder / "localhost")
        first = self.issuer.issue().save(folder / "alice")
        self.server = Server(
            folder, self.credential, first, app, ("--audit-log", str(self.audit_log), *options), **environment
        )

    def issue_server(self, issuer: Issuer | None = None) -> Issued:
        return (issuer or self.issuer).issue("localhost", san=LOCALHOST, purposes=(SERVER,))

    def client(self, name: str, *, issuer: Issuer | None = None, valid_for: timedelta | None = None) -> Client:
        life = {} if valid_for is None else {"valid_for": valid_for}
        trust = self.issuer.certificate
        issued = (issuer or self.issuer).issue(name, san=(x509.RFC822Name(f"{name}@example.com"),), trust=trust, **life)
        folder = issued.save(self.folder / f"{name}-{next(self._numbers)}")
        return Client(folder, issued, self.server.port)

    def put(self, name: str, data: bytes) -> float:
        """Put a file into the credential folder, by one rename; return when."""
        beside = self.credential / f".{name}.new"
        beside.touch(0o600)
        beside.write_bytes(data)
        beside.replace(self.credential / name)
        return time.monotonic()

    def put_pair(self, issued: Issued) -> None:
        """Put another certificate and key in force, as one version, as the authority does."""
        staging = issued.save(self.folder / f"..{next(self._numbers)}")
        for entry in self.credential.iterdir():
            if entry.is_file() and not (staging / entry.name).exists():
                (staging / entry.name).write_bytes(entry.read_bytes())
        link = self.folder / ".swap"
        beside = self.folder / f"was-{next(self._numbers)}"
        link.symlink_to(staging.name)
        if self.credential.is_symlink():
            link.replace(self.credential)
        else:
            self.credential.rename(beside)
            link.replace(self.credential)

    def revoke(self, *clients: Client) -> float:
        """Publish a list with these clients on it; return when."""
        serials = [client.serial for client in clients]
        return self.put("ca.crl", self.issuer.revocation_list(*serials, number=next(self._numbers)))

    def audited(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Wait for an audit line with these facts; return all there are."""
        return audited(self.audit_log, event, **facts)

    def taken_up(self, after: int) -> None:
        self.server.logged(" reloaded", after)

    def stop(self) -> None:
        self.server.stop()


@contextmanager
def trusting(folder: Path, *options: str, **more: str) -> Iterator[Trusting]:
    """A server of one's own, stopped behind the block; its log holds nothing unsound."""
    made = Trusting(folder, *options, **more)
    try:
        assert made.server.port
        yield made
    finally:
        made.stop()
    log = made.server.log()
    assert not any(word in log for word in ("Traceback", "Fatal error", "never retrieved")), log
