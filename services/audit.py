"""The audit log: who came, who was refused and why, who was sent away, and what changed in the trust.

JSON lines, each a whole of its own: `{"time": ..., "event": ..., ...}`. Every event and its fields are here. Nothing
secret is among them: names, serial numbers and fingerprints are public, keys and requests' contents are never written.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from services.logs import bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from pathlib import Path

    from services.peer import Peer

log = structlog.get_logger("handclasp.audit")

KEY = "handclasp.audit"
"""Where the Audit is in the lifespan's state."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: bytes) -> None:
        """Take one line, its end included. Does not raise."""

    def reopen(self) -> None:
        """The file may have been moved away: begin a new one."""


class FileSink:
    """A file that is appended to, a line a write: several processes may share it.

    It is opened anew where it was renamed or removed, as logrotate does, and on SIGHUP. A disk that takes no more does
    not stop the server: the line is lost, and the ordinary log says so.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be written."""
        self._path = path
        self._descriptor = self._open()

    def write(self, line: bytes) -> None:
        try:
            if self._was_moved():
                self.reopen()
            os.write(self._descriptor, line)
        except OSError as error:
            log.error("audit line lost", reason=error.strerror, file=str(self._path))  # noqa: TRY400

    def reopen(self) -> None:
        try:
            descriptor = self._open()
        except OSError as error:
            log.error("audit log not reopened", reason=error.strerror, file=str(self._path))  # noqa: TRY400
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _was_moved(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


class StderrSink:
    """Lines among the logs on stderr."""

    def write(self, line: bytes) -> None:
        sys.stderr.write(line.decode())
        sys.stderr.flush()

    def reopen(self) -> None:
        pass


class Audit:
    """Says what happened: to a log, and to whoever observes."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink
        self.observers: list[Observer] = []
        """Each is told of every event and its facts: metrics, what the admin page shows."""

    def reopen(self) -> None:
        """The file may have been moved away."""
        if self._sink is not None:
            self._sink.reopen()

    def handshake_refused(self, reason: str, address: Address, presented: x509.Certificate | None) -> None:
        """Nobody was let in; what was presented was not verified."""
        self._say("handshake.refused", reason=reason, address=_text(address), presented=_presented(presented))

    def connection_opened(self, peer: Peer) -> None:
        """A caller was verified."""
        self._say("connection.opened", **_peer(peer), tls=peer.tls_version, alpn=peer.alpn)

    def connection_closed(self, peer: Peer, lived: timedelta, requests: int) -> None:
        """It has ended, whoever ended it."""
        seconds = round(lived.total_seconds(), 3)
        self._say("connection.closed", **_peer(peer), alpn=peer.alpn, seconds=seconds, requests=requests)

    def connection_drained(self, peer: Peer, reason: str) -> None:
        """It is asked to come back: what is under way goes on."""
        self._say("connection.drained", reason=reason, **_peer(peer))

    def connection_cut(self, peer: Peer, reason: str) -> None:
        """Nobody vouches for the caller any more, or it broke a limit: ended."""
        self._say("connection.cut", reason=reason, **_peer(peer))

    def request_refused(self, peer: Peer, reason: str, status: int | str) -> None:
        """A request was not given to the application; `status` may be an HTTP/2 error code's name."""
        self._say("request.refused", reason=reason, status=status, **_peer(peer))

    def rpc_failed(self, peer: Peer, method: str, code: str, reason: str) -> None:
        """A call that was not answered as it was asked: `method` as the caller spelled it, `code` canonical."""
        self._say("rpc.failed", method=method, code=code, reason=reason, **_peer(peer))

    def connection_refused(self, reason: str, address: Address) -> None:
        """There was no room: nobody was asked who they are."""
        self._say("connection.refused", reason=reason, address=_text(address))

    def certificate_issued(
        self, how: str, *, name: str, serial: str, expires: datetime, requested_by: str, address: str | None
    ) -> None:
        """Somebody has a new certificate: `certificate.renewed`, or `certificate.enrolled` for a one-time token."""
        self._say(
            f"certificate.{how}",
            name=name,
            serial=serial,
            expires=_moment(expires),
            requested_by=requested_by,
            address=address,
        )

    def enrollment_refused(self, reason: str, identity: str | None, address: str | None) -> None:
        """Somebody has asked for a certificate and got none; `identity` where one was verified."""
        self._say("enrollment.refused", reason=reason, identity=identity, address=address)

    def reload_accepted(self, generation: int, serial: str, expires: datetime, authorities: int, revoked: int) -> None:
        """Another credential, bundle or list is in force."""
        self._say(
            "reload.accepted",
            generation=generation,
            serial=serial,
            expires=_moment(expires),
            authorities=authorities,
            revoked=revoked,
        )

    def reload_refused(self, reason: str) -> None:
        """A candidate was not sound: the one before goes on serving."""
        self._say("reload.refused", reason=reason)

    def _say(self, event: str, **facts: Any) -> None:
        facts = {name: bounded(fact) for name, fact in facts.items()}
        for observer in self.observers:
            observer(event, facts)
        if self._sink is not None:
            line = {"time": _moment(datetime.now(UTC)), "event": event, "pid": os.getpid(), **facts}
            self._sink.write(json.dumps(line).encode() + b"\n")


Address = tuple[str, int] | None
Observer: TypeAlias = "Callable[[str, Mapping[str, Any]], None]"


def open_audit(where: str | None) -> Audit:
    """The audit log that a setting names: a file, `-` for stderr, None to tell observers alone. Raises OSError."""
    if where is None:
        return Audit()
    from pathlib import Path

    return Audit(StderrSink() if where == "-" else FileSink(Path(where)))


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "identity": peer.identity.name,
        "serial": peer.identity.serial,
        "sha256": peer.identity.sha256,
        "address": _text(peer.address),
    }


def _presented(certificate: x509.Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return {
        "subject": _readable(lambda: certificate.subject.rfc4514_string()),
        "names": _readable(lambda: _names(certificate)),
        "serial": format(certificate.serial_number, "x"),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _names(certificate: x509.Certificate) -> str:
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return ", ".join(str(getattr(name, "value", name)) for name in san)


def _readable(read: Any) -> str:
    """What a stranger wrote into a certificate, as far as it can be read: JSON escapes the rest."""
    try:
        return str(bounded(str(read())))
    except x509.ExtensionNotFound:
        return ""
    except Exception:  # noqa: BLE001 - a stranger's bytes: no parser's complaint may end a handshake in any other way
        return "unreadable"


def _text(address: Address) -> str | None:
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
