"""Every metric: its name, its labels, what it counts. The only file that knows of Prometheus.

Labels have few values, whatever strangers send: identities, addresses and paths are never among them. The events are
the audit log's: what it writes down, this counts.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.transport.snapshot import Snapshot

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own name: where workers keep what is summed up at each scrape. Read when it is imported."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_MOST_SERVICES = 50
"""Services that are told apart: the application names them, and may name them after what a stranger sent."""

OTHER = "other"

# By how the reason begins: further on it may quote a stranger. What is in no row is "other".
_REFUSED = {
    "peer did not return a certificate": "no certificate",
    "no certificate was verified": "no certificate",
    "its certificate is revoked": "revoked",
    "the revocation list of its authority is stale": "stale revocation list",
    "there is no revocation list": "no revocation list",
    "certificate has expired": "expired",
    "certificate is not yet valid": "not yet valid",
    "unable to get local issuer certificate": "unknown authority",
    "unable to get issuer certificate": "unknown authority",
    "unable to verify the first certificate": "unknown authority",
    "self-signed certificate": "unknown authority",
    "an authority's certificate": "not a client's",
    "not a client's certificate": "not a client's",
    "unsuitable certificate purpose": "not a client's",
    "the certificate names nobody": "no identity",
    "the certificate holds": "no identity",
    "the certificate has several": "no identity",
    "the email": "no identity",
    "the URI": "no identity",
    "the DNS name": "no identity",
    "the SPIFFE ID": "no identity",
    "the common name": "no identity",
    "a SPIFFE ID": "no identity",
    "an empty": "no identity",
    "the certificate cannot be read": "malformed certificate",
    "plain HTTP": "plain HTTP",
    "no handshake within": "too slow",
    "it was the slowest": "too many",
    "too many connections": "too many",
    "the client closed the connection": "client left",
    "unexpected eof": "client left",
    "no common application protocol": "no common protocol",
    "unsupported protocol": "no common version",
    "wrong version number": "no common version",
    "no shared cipher": "no common cipher",
    "no suitable": "no common cipher",
    "tlsv1 alert": "refused by the client",
    "tlsv13 alert": "refused by the client",
    "sslv3 alert": "refused by the client",
    "ssl/tls alert": "refused by the client",
}
_ENDED = {
    "its certificate is revoked": "revoked",
    "its certificate has expired": "expired",
    "its authority is no longer trusted": "authority removed",
    "the revocation list of its authority is stale": "stale revocation list",
    "there is no revocation list": "no revocation list",
    "the server's certificate was replaced": "recycled",
    "streams reset": "limit",
    "too many": "limit",
    "the request's head": "limit",
    "a stream's window": "limit",
    "the peer takes nothing": "limit",
}


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        """Make the metrics; once a process, as prometheus-client has it."""
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
        self._children: dict[tuple[str, int | None, str], Any] = {}
        self._services: set[str] = set()
        self._counted: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "handshake.refused": lambda facts: self._handshake("refused", _known(_REFUSED, facts["reason"])),
            "connection.refused": lambda facts: self._handshake("refused", _known(_REFUSED, facts["reason"])),
            "connection.opened": self._opened,
            "connection.closed": lambda facts: self._open.labels(facts["alpn"] or "http/1.1").dec(),
            "connection.cut": lambda facts: self._ended.labels("cut", _known(_ENDED, facts["reason"])).inc(),
            "connection.drained": lambda facts: self._ended.labels("drained", _known(_ENDED, facts["reason"])).inc(),
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
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(protocol, "none" if status is None else str(status), service),
                None if protocol == "websocket" else self._seconds.labels(protocol, service),
            )
        requests, duration = children
        requests.inc()
        if duration is not None:
            duration.observe(seconds)

    def decided(self, allowed: bool, by: str) -> None:
        """Count a decision about who may do what; `by` is policy or engine."""
        self._decisions.labels("allowed" if allowed else "denied", by).inc()

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
    if os.environ.get(_FOLDER):
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(trust)
    encode, content_type = choose_encoder(accept)
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


def bury(pid: int) -> None:
    """A worker has ended: its connections are open no more. What it has counted stays."""
    if os.environ.get(_FOLDER):
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _known(table: Mapping[str, str], reason: str) -> str:
    return next((word for beginning, word in table.items() if reason.startswith(beginning)), OTHER)
