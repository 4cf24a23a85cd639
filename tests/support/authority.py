"""A real authority in a folder, and a server that answers for it: `handclasp-serve --enrollment`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.issuing import Request
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.names import Names
from pki.profiles import ClientProfile, ServerProfile
from pki.state import State
from tests.support.admin import free_port
from tests.support.audited import audited
from tests.support.issuer import client_context
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "/handclasp.enrollment.v1.EnrollmentService"
ENROLL = "/handclasp.enrollment.v1.BootstrapService/Enroll"


def now() -> datetime:
    return datetime.now(UTC)


def csr(name: str | None = None, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A signing request in DER; by itself it asks for no name."""
    subject = x509.Name([] if name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    key = key or ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


class Authority:
    """An authority, a server of it, and as many clients as a test wants."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder, self.database = folder, database
        self.audit_log = folder / "audit.jsonl"
        self.lifecycle = Lifecycle(State(folder / "state"), None, database, "alice@host")
        self.lifecycle.init("An authority", key=KeyType.P256, now=now())
        request = Request(ServerProfile(), Names.parse("localhost", dns_names=["localhost"]))
        self.credential = self.lifecycle.issue(request, now=now()).folder
        self.alice = self.client("alice")
        self.enroll_port = 0

    def client(self, name: str) -> Path:
        """Issue a client's credential; return its folder."""
        return self.lifecycle.issue(self.request(name), now=now()).folder

    def request(self, name: str) -> Request:
        return Request(ClientProfile(), Names.parse(name, emails=[f"{name}@example.com"]))

    def token(self, name: str, ttl: timedelta = timedelta(minutes=10)) -> str:
        return self.lifecycle.invite(self.request(name), ttl, now=now()).token

    def fingerprint(self) -> str:
        return self.lifecycle.signer().row.anchor.fingerprint(hashes.SHA256()).hex()

    @contextmanager
    def serving(self, *options: str, **environment: str) -> Iterator[Server]:
        """Its log holds nothing unsound."""
        self.enroll_port = free_port()
        state = ["--state", str(self.folder / "state"), "--audit-log", str(self.audit_log)]
        bind = ["--enrollment", "--enroll-bind", f"127.0.0.1:{self.enroll_port}"]
        if self.database is not None:
            environment["HANDCLASP_DATABASE"] = self.database
        server = Server(
            self.folder, self.credential, self.alice, "services.app:app", [*state, *bind, *options], **environment
        )
        try:
            assert server.port
            yield server
        finally:
            server.stop()
        log = server.log()
        assert not any(word in log for word in ("Traceback", "Fatal error", "never retrieved")), log

    def audited(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Wait for an audit line with these facts; return all there are."""
        return audited(self.audit_log, event, **facts)


def post(folder: Path, port: int, path: str, message: dict[str, Any], *, certificate: bool = True) -> tuple[int, dict]:
    """Call by Connect's JSON; the status and the answer."""
    context = client_context(folder if certificate else None, trust=folder / "ca.crt")
    with httpx.Client(verify=context, trust_env=False) as client:
        reply = client.post(f"https://localhost:{port}{path}", json=message, timeout=10)
    return reply.status_code, reply.json()
