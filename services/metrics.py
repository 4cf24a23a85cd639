"""Every metric: its name, its labels, what it counts. The only file that knows of Prometheus.

Labels have few values, whatever strangers send: identities, addresses and paths are never among them. The events are
the audit log's: what it writes down, this counts.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict

from services.reasons import ENDED, OTHER, REFUSED, word
from services.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.transport.snapshot import Snapshot

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own name: where workers keep what is summed up at each scrape. Read when it is imported."""

_ADDED_UP = ("counter", "histogram", "summary")
_GONE = "ended"
"""Kinds of files whose values outlive their process, and the name in the place of its number."""

_PATIENCE = 1.0
"""Seconds to wait for the folder: a scrape holds it for milliseconds."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_MOST_SERVICES = 50
"""Services that are told apart: the application names them, and may name them after what a stranger sent."""


class Metrics:
    """What one process counts."""

    def __init__(self, later: Callable[[Callable[[], None]], object] = lambda call: call()) -> None:
        """Make the metrics; once a process, as prometheus-client has it.

        `later` calls what it is given, soon: what ends in one turn of the event loop is counted together, which costs
        less for each than a count in the middle of all that a request needs. At once, where nothing is said.
        """
        self._handshakes = Counter(
            "handclasp_handshakes", "TLS handshakes by result, and by reason where refused.", ("result", "reason")
        )
        self._requests = Counter(
            "handclasp_requests",
            "Requests by protocol (http/1.1, h2, websocket), status (none: not answered) and service.",
            ("protocol", "status", "service"),
        )
        self._seconds = Histogram(
            "handclasp_request_duration_seconds",
            "From a request's head to the end of its response; WebSockets are not among them.",
            ("protocol", "service"),
            buckets=_BUCKETS,
        )
        self._refused = Counter(
            "handclasp_requests_refused",
            "Requests that no application heard of, by what they were answered.",
            ("status",),
        )
        self._open = Gauge(
            "handclasp_connections_open",
            "Connections of verified callers, by protocol.",
            ("protocol",),
            multiprocess_mode="livesum",
        )
        self._ended = Counter(
            "handclasp_connections_ended",
            "Connections that the server has cut, or drained, for a change of trust or a broken limit.",
            ("how", "reason"),
        )
        self._reloads = Counter(
            "handclasp_reloads", "Changes of credential, trust, lists or policy, by result.", ("result",)
        )
        self._decisions = Counter(
            "handclasp_policy_decisions", "Who may do what: decisions, and who decided.", ("decision", "by")
        )
        self._enrollments = Counter(
            "handclasp_enrollments", "Certificates that were renewed or enrolled here, or refused.", ("result",)
        )
        self._later = later
        self._due = False
        self._ended_requests: dict[tuple[str, int | None, str], list[float]] = {}
        self._made_decisions: dict[tuple[bool, str], int] = {}
        self._services: set[str] = set()
        self._counted: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "handshake.refused": lambda facts: self._handshake("refused", word(REFUSED, facts["reason"])),
            "connection.refused": lambda facts: self._handshake("refused", word(REFUSED, facts["reason"])),
            "connection.opened": self._opened,
            "connection.closed": lambda facts: self._open.labels(facts["alpn"] or "http/1.1").dec(),
            "connection.cut": lambda facts: self._ended.labels("cut", word(ENDED, facts["reason"])).inc(),
            "connection.drained": lambda facts: self._ended.labels("drained", word(ENDED, facts["reason"])).inc(),
            "request.refused": lambda facts: self._refused.labels(str(facts["status"])).inc(),
            "certificate.renewed": lambda _: self._enrollments.labels("renewed").inc(),
            "certificate.enrolled": lambda _: self._enrollments.labels("enrolled").inc(),
            "enrollment.refused": lambda _: self._enrollments.labels("refused").inc(),
            "reload.accepted": lambda _: self._reloads.labels("accepted").inc(),
            "reload.refused": lambda _: self._reloads.labels("refused").inc(),
        }
        for result in ("accepted", "refused"):  # an alert needs the zero that was there before
            self._reloads.labels(result)
        for protocol in ("h2", "http/1.1"):
            self._open.labels(protocol)

    def observe(self, event: str, facts: Mapping[str, Any]) -> None:
        """Count an event of the audit log."""
        counted = self._counted.get(event)
        if counted is not None:
            counted(facts)

    def request(self, scope: Any, status: int | None, seconds: float) -> None:
        """Count a request that has ended; None: it was never answered.

        Its service is what the application wrote into `scope["extensions"]["handclasp"]["service"]`.
        """
        protocol = "h2" if scope["http_version"] == "2" else "http/1.1"
        if scope["type"] == "websocket":
            protocol = "websocket"
        service = scope["extensions"]["handclasp"].get("service", "")
        if not isinstance(service, str) or service not in self._services:
            service = self._welcome(service)
        key = (protocol, status, service)
        durations = self._ended_requests.get(key)
        if durations is None:
            durations = self._ended_requests[key] = []
        durations.append(seconds)
        if not self._due:
            self._add_up_later()

    def decided(self, allowed: bool, by: str) -> None:
        """Count a decision about who may do what; `by` is policy or engine."""
        key = (allowed, by)
        self._made_decisions[key] = self._made_decisions.get(key, 0) + 1
        if not self._due:
            self._add_up_later()

    def add_up(self) -> None:
        """Count what has ended since the last time."""
        self._due = False
        for (protocol, status, service), durations in self._ended_requests.items():
            if durations:
                self._requests.labels(protocol, "none" if status is None else str(status), service).inc(len(durations))
                if protocol != "websocket":
                    observe = self._seconds.labels(protocol, service).observe
                    for seconds in durations:
                        observe(seconds)
                durations.clear()
        for (allowed, by), number in self._made_decisions.items():
            self._decisions.labels("allowed" if allowed else "denied", by).inc(number)
        self._made_decisions.clear()

    def _add_up_later(self) -> None:
        self._due = True
        self._later(self.add_up)

    def _welcome(self, service: Any) -> str:
        if not isinstance(service, str) or len(self._services) >= _MOST_SERVICES:
            return OTHER
        self._services.add(service)
        return service

    def _opened(self, facts: Mapping[str, Any]) -> None:
        self._handshake("accepted", "")
        self._open.labels(facts["alpn"] or "http/1.1").inc()

    def _handshake(self, result: str, reason: str) -> None:
        self._handshakes.labels(result, reason).inc()


class TrustCollector:
    """What the current Snapshot says, asked at each scrape. Workers have the same one: any may answer."""

    def __init__(self, snapshot: Callable[[], Snapshot], name: str) -> None:
        """`name` is the credential's."""
        self._snapshot = snapshot
        self._name = name

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What prometheus-client calls."""
        snapshot, now = self._snapshot(), datetime.now(UTC)
        expiry = GaugeMetricFamily(
            "handclasp_expiry_seconds",
            "Seconds until the server's credential, an authority or a revocation list ends; negative: it has.",
            labels=("kind", "name"),
        )
        revoked = GaugeMetricFamily("handclasp_revoked", "Serial numbers on a revocation list.", labels=("name",))
        ends = {("credential", self._name): snapshot.credential.leaf.not_valid_after_utc}
        for anchor in snapshot.trust:
            key = ("authority", anchor.subject.rfc4514_string())
            ends[key] = min(ends.get(key, anchor.not_valid_after_utc), anchor.not_valid_after_utc)
        for found in snapshot.revocations.lists.values():
            ends["crl", found.issuer] = min(ends.get(("crl", found.issuer), found.next_update), found.next_update)
        for (kind, name), end in ends.items():
            expiry.add_metric((kind, name), (end - now).total_seconds())
        counts: dict[str, int] = {}
        for found in snapshot.revocations.lists.values():
            counts[found.issuer] = counts.get(found.issuer, 0) + len(found)
        for name, count in counts.items():
            revoked.add_metric((name,), count)
        yield expiry
        yield revoked


def exposition(accept: str, trust: TrustCollector) -> tuple[bytes, str]:
    """All metrics of all workers, and those that the application has made itself, in the format that is asked for."""
    registry = CollectorRegistry()
    registry.register(trust)
    encode, content_type = choose_encoder(accept)
    if not (folder := os.environ.get(_FOLDER)):
        registry.register(REGISTRY)
        return encode(registry), content_type
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with _held(Path(folder), fcntl.LOCK_SH, _PATIENCE):
        return encode(registry), content_type


@contextmanager
def shared() -> Iterator[None]:
    """A folder in which the workers that are started inside count together; the operator's, where one is named."""
    if os.environ.get(_FOLDER):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="handclasp-metrics-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def sweep() -> None:
    """Remove from the operator's folder, where one is named, what processes counted that are gone.

    Raises SettingsError where there is no such folder, or nobody may write there.
    """
    if not (named := os.environ.get(_FOLDER)):
        return
    folder = Path(named)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{_FOLDER}: {named} is no folder that can be written to: make it, or name none")
    for left in folder.glob("*.db"):
        pid = left.stem.rpartition("_")[2]
        if pid == _GONE or (pid.isdigit() and not _runs(int(pid))):
            left.unlink(missing_ok=True)


class Undertaker:
    """What workers leave behind when they end. Lives in their parent."""

    def __init__(self) -> None:
        self._waiting: list[int] = []

    def bury(self, pid: int) -> None:
        """A worker has ended: its connections are open no more. What it has counted stays, in one file for all of them.

        Where a scrape holds the folder for long, it is left to the next burial: until then it counts as it is.
        """
        if not os.environ.get(_FOLDER):
            return
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        self._waiting.append(pid)
        folder = Path(os.environ[_FOLDER])
        with _held(folder, fcntl.LOCK_EX, _PATIENCE) as alone:
            while alone and self._waiting:
                ended = self._waiting.pop()
                for kind in _ADDED_UP:
                    _hand_down(folder / f"{kind}_{ended}.db", folder / f"{kind}_{_GONE}.db")


def _hand_down(left: Path, heir: Path) -> None:
    """Add the values of one file to another."""
    if not left.exists():
        return
    beside = heir.with_suffix(".new")
    beside.unlink(missing_ok=True)
    added = MmapedDict(str(beside))  # type: ignore[no-untyped-call]
    for source in (heir, left):
        if source.exists():
            for key, value, moment, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
                added.write_value(key, added.read_value(key)[0] + value, moment)  # type: ignore[no-untyped-call]
    added.close()  # type: ignore[no-untyped-call]
    beside.replace(heir)
    left.unlink()


@contextmanager
def _held(folder: Path, how: int, patience: float) -> Iterator[bool]:
    """Hold the folder's lock, so that nobody reads while values change their file; False: not within these seconds."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    try:
        while not (locked := _locked(descriptor, how)) and time.monotonic() < until:
            time.sleep(0.005)
        yield locked
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
