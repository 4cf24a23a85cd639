"""What Prometheus reads: counted where it happens, summed up over workers, with few labels whatever strangers send."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import pytest
import yaml
from cryptography import x509

from tests.support.admin import Scrape, free_port
from tests.support.issuer import SERVER, Issuer
from tests.support.server import ROOT, eventually
from tests.support.trust import Client, Trusting, trusting
from tests.support.wire import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONITORING = ROOT / "docs" / "monitoring"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("metrics")
    policy = folder / "policy.toml"
    policy.write_text(
        '[[rule]]\npath = "/admin/*"\nallow = ["email:root@example.com"]\n\n'
        '[[rule]]\npath = "/admin/*"\ndeny = ["*"]\n\n[[rule]]\npath = "/*"\nallow = ["*"]\n'
    )
    with trusting(folder, "--admin-bind", f"127.0.0.1:{port}", "--policy", str(policy), app="services.app:app") as made:
        yield made


def turned_away(client: Client) -> None:
    with suppress(Ended, OSError, ssl.SSLError), client.h1() as line:
        line.recv()


def test_requests(there: Trusting, port: int) -> None:
    """By protocol, status and service; how long they took; and who is connected meanwhile."""
    before = Scrape(port)
    tom = there.client("tom")
    with tom.h2() as wire, tom.h1() as line:
        assert [wire.get(path).status for path in ("/", "/whoami", "/whoami", "/nowhere")] == [200, 200, 200, 404]
        assert line.get("/healthz").status == 200
        eventually(lambda: Scrape(port).value("handclasp_connections_open", protocol="h2") >= 1)
        assert Scrape(port).value("handclasp_connections_open", protocol="http/1.1") >= 1
    after = Scrape(port)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("handclasp_requests_total", protocol="h2", status="200", service="whoami") == 2
    assert grown("handclasp_requests_total", protocol="h2", status="200", service="greeter") == 1
    assert grown("handclasp_requests_total", protocol="h2", status="404", service="") == 1
    assert grown("handclasp_requests_total", protocol="http/1.1", status="200", service="health") == 1
    assert grown("handclasp_request_duration_seconds_count", protocol="h2", service="whoami") == 2
    assert 0 < grown("handclasp_request_duration_seconds_sum", protocol="h2", service="whoami") < 2
    assert grown("handclasp_handshakes_total", result="accepted") == 2
    eventually(lambda: not Scrape(port).value("handclasp_connections_open"))


def test_decisions(there: Trusting, port: int) -> None:
    """What the policy has said, and what it was answered."""
    before = Scrape(port)
    with there.client("tom").h2() as wire:
        assert [wire.get(path).status for path in ("/", "/admin/x", "/admin")] == [200, 403, 403]
    after = Scrape(port)
    for decision, count in (("allowed", 1), ("denied", 2)):
        labels = {"decision": decision, "by": "policy"}
        name = "handclasp_policy_decisions_total"
        assert after.value(name, **labels) - before.value(name, **labels) == count
    assert (
        after.value("handclasp_requests_refused_total", status="403")
        - before.value("handclasp_requests_refused_total", status="403")
        == 2
    )


REFUSALS = {
    "unknown authority": lambda there: there.client("eve", issuer=Issuer("Foreign CA")),
    "expired": lambda there: _issued(there, valid_from=timedelta(days=-2), valid_for=timedelta(days=1)),
    "not a client's": lambda there: _issued(there, purposes=(SERVER,)),
    "no identity": lambda there: _issued(there, san=(x509.RFC822Name("its certificate is revoked@\0evil"),)),
    "revoked": lambda there: _revoked(there),
}


def _issued(there: Trusting, **how: object) -> Client:
    issued = there.issuer.issue("odd", **how)  # type: ignore[arg-type]
    number = next(there._numbers)
    return Client(issued.save(there.folder / f"odd-{number}"), issued, there.server.port)


def _revoked(there: Trusting) -> Client:
    mallory = there.client("mallory")
    after = there.server.log_end()
    there.revoke(mallory)
    there.taken_up(after)
    return mallory


@pytest.mark.parametrize("reason", REFUSALS)
def test_refusals_by_reason(there: Trusting, port: int, reason: str) -> None:
    client = REFUSALS[reason](there)
    before = Scrape(port).value("handclasp_handshakes_total", result="refused", reason=reason)
    turned_away(client)
    eventually(lambda: Scrape(port).value("handclasp_handshakes_total", result="refused", reason=reason) == before + 1)


def test_connections_that_are_cut(there: Trusting, port: int) -> None:
    """A client that is revoked while connected."""
    mallory = there.client("mallory")
    name = "handclasp_connections_ended_total"
    before = Scrape(port).value(name, how="cut", reason="revoked")
    with mallory.h2() as wire:
        assert wire.get().status == 200
        there.revoke(mallory)
        eventually(lambda: Scrape(port).value(name, how="cut", reason="revoked") == before + 1)
    scrape = Scrape(port)
    assert scrape.value("handclasp_reloads_total", result="accepted") >= 1
    assert scrape.value("handclasp_revoked") == 1
    there.put("ca.crl", b"-----BEGIN X509 CRL-----\nnonsense\n-----END X509 CRL-----\n")
    eventually(lambda: Scrape(port).value("handclasp_reloads_total", result="refused") == 1)
    there.revoke()


def test_what_ends_when(there: Trusting, port: int) -> None:
    """Seconds until the credential, the authority and its list end."""
    after = there.server.log_end()
    there.revoke()
    there.taken_up(after)
    scrape = Scrape(port)
    kinds = {labels["kind"]: labels["name"] for labels in scrape.labels("handclasp_expiry_seconds")}
    assert kinds == {"credential": "localhost", "authority": "CN=Faults CA", "crl": "CN=Faults CA"}
    day = 86_400
    assert 0.9 * day < scrape.value("handclasp_expiry_seconds", kind="credential") < day
    assert 29 * day < scrape.value("handclasp_expiry_seconds", kind="authority") <= 30 * day


def test_strangers_make_no_labels(there: Trusting, port: int) -> None:
    """A hundred identities, paths, methods and broken certificates later there are as many series as before."""
    for number in range(3):
        turned_away(_issued(there, san=(x509.RFC822Name(f"<b>{number}\u0000@x"),)))
        with there.client(f"tim-{number}").h2() as wire:
            assert wire.get(f"/{number}").status == 404
    before = len(Scrape(port).samples)
    for number in range(20):
        turned_away(_issued(there, san=(x509.RFC822Name(f"<b>{number}\u0000@{'y' * 10_000}"),)))
        with there.client(f"tina-{number}").h2() as wire:
            assert wire.get(f"/some/{number}").status == 404
    scrape = Scrape(port)
    assert len(scrape.samples) == before
    for stranger in ("tina", "@", "<b>", "yyyy", "127.0.0.1", "/some"):
        assert stranger not in scrape.text


def test_an_application_s_services_are_bounded() -> None:
    """It names a service after each path: the first fifty are told apart."""
    script = """
from services.metrics import Metrics
from prometheus_client import generate_latest
metrics = Metrics()
for number in range(200):
    scope = {"type": "http", "http_version": "2", "extensions": {"handclasp": {"service": f"s{number}"}}}
    metrics.request(scope, 200, 0.1)
metrics.request({"type": "http", "http_version": "2", "extensions": {"handclasp": {"service": ["no"]}}}, 200, 0.1)
print(generate_latest().decode())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.findall(r'^handclasp_requests_total\{.*service="([^"]*)".*\} (\S+)$', done.stdout, re.MULTILINE)
    assert len(found) == 51
    assert dict(found)["other"] == "151.0"


def test_workers_are_summed_up(tmp_path: Path) -> None:
    """Whoever answers the scrape tells of all; what a worker that died has counted stays, its connections go."""
    port = free_port()
    options = ("--workers", "2", "--admin-bind", f"127.0.0.1:{port}")
    with trusting(tmp_path, *options, app="services.app:app", TMPDIR=str(tmp_path)) as there:
        tom = there.client("tom")
        for _ in range(30):
            with tom.h2() as wire:
                assert wire.get().status == 200
        assert {Scrape(port).value("handclasp_requests_total", service="greeter") for _ in range(10)} == {30.0}
        with tom.h2() as wire:
            assert wire.get().status == 200
            eventually(lambda: Scrape(port).value("handclasp_connections_open") == 1)
            (process,) = [
                worker
                for worker in map(psutil.Process, there.server.workers())
                if (there.server.port, "ESTABLISHED") in {(c.laddr.port, c.status) for c in worker.net_connections()}
            ]
            process.kill()
            there.server.logged("worker died")
            eventually(lambda: not Scrape(port).value("handclasp_connections_open"))
        assert Scrape(port).value("handclasp_requests_total", service="greeter") == 31
        assert list(tmp_path.glob("handclasp-metrics-*"))
        there.server.signal()
        assert there.server.exit_code() == 0
    assert not list(tmp_path.glob("handclasp-metrics-*"))


def test_workers_that_are_replaced_leave_nothing_behind(tmp_path: Path) -> None:
    """But what they counted: whatever the number of those that were, there are files of those that are."""
    port, folder = free_port(), tmp_path / "counted"
    folder.mkdir()
    stale = folder / "gauge_livesum_999999999.db"  # of a server that was killed
    stale.write_bytes(b"")
    options = ("--workers", "2", "--max-requests", "5", "--admin-bind", f"127.0.0.1:{port}")
    with trusting(tmp_path, *options, app="services.app:app", PROMETHEUS_MULTIPROC_DIR=str(folder)) as there:
        assert not stale.exists()
        tom = there.client("tom")
        sent = 0
        until = time.monotonic() + 60
        while there.server.log().count("worker replaced") < 2 and time.monotonic() < until:
            with tom.h2() as one, tom.h2() as other:  # of two that are open, each worker has one, most of the time
                for wire in (one, other) * 6:
                    with suppress(Ended):  # its worker leaves
                        assert wire.get().status == 200
                        sent += 1
            time.sleep(0.2)
        there.server.logged("worker replaced", times=2)

        def count(of: str = "handclasp_requests_total") -> float:
            return Scrape(port).value(of, service="greeter")

        def pids() -> set[str]:
            return {path.stem.rpartition("_")[2] for path in folder.glob("*.db")} - {"ended"}

        def living() -> set[str]:
            return {str(child.pid) for child in psutil.Process(there.server.process.pid).children()}

        def settled() -> bool:
            before = there.server.workers()
            time.sleep(1)  # who has answered enough has a successor begun at once
            return len(before) == 2 and there.server.workers() == before and pids() <= living()

        # One that leaves hangs up on who has just connected to ask: the others are asked when it is gone.
        eventually(settled, 30, lambda: f"{pids()} {living()}")
        assert {count() for _ in range(20)} == {sent}
        assert count("handclasp_request_duration_seconds_count") == sent
        assert not Scrape(port).value("handclasp_connections_open")


def test_a_folder_to_count_in_that_is_not_there(tmp_path: Path) -> None:
    """One line, and nothing listens."""
    done = subprocess.run(
        [sys.executable, "-m", "services", "--admin-bind", f"127.0.0.1:{free_port()}"],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("handclasp-serve: error: PROMETHEUS_MULTIPROC_DIR: ")


def test_openmetrics(there: Trusting, port: int) -> None:
    """The newer format, for who asks for it."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    from tests.support.admin import ask

    status, text = ask(port, "/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert status == 200
    assert any(family.name == "handclasp_handshakes" for family in text_string_to_metric_families(text))


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["action"]
            yield rule["alert"], rule["expr"]
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.fixture(scope="module")
def seen(there: Trusting, port: int) -> Scrape:
    """The metrics of a server to which everything has happened."""
    with there.client("tom").h2() as wire:
        wire.get("/admin")
        wire.get("/")
    turned_away(there.client("eve", issuer=Issuer("Foreign CA")))
    mallory = there.client("mallory")
    with mallory.h2() as wire:
        assert wire.get().status == 200
        there.revoke(mallory)
        eventually(lambda: Scrape(port).value("handclasp_connections_ended_total") > 0)
    return Scrape(port)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_dashboard_and_alerts_ask_for_what_there_is(seen: Scrape, where: str, expression: str) -> None:
    """Every metric and label that they name is one that a server exposes."""
    labels_of: dict[str, set[str]] = {}
    declared = set(re.findall(r"^# TYPE (\S+) ", seen.text, re.MULTILINE))
    for sample in seen.samples:
        labels_of.setdefault(sample.name, set()).update(sample.labels)
    found = re.findall(r"\b(handclasp_\w+)(?:\{([^}]*)\})?", expression)
    assert found
    for name, selector in found:
        assert name in labels_of or name in declared, name
        for label in re.findall(r"(\w+)\s*(?:=~|!~|=|!=)", selector or ""):
            assert label == "instance" or name not in labels_of or label in labels_of[name], (name, label)
    known = set().union(*(labels_of.get(name, set()) for name, _ in found)) | {"instance", "le"}
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= known, grouped


def test_the_page_names_every_metric(seen: Scrape) -> None:
    """With its labels, as a server has them; `_created` is prometheus-client's own."""
    page = (MONITORING.parent / "watching.md").read_text()
    told = {
        name: {label for label in labels.split(", ") if label}
        for name, labels in re.findall(r"^\| `(handclasp_\w+)` \| ([\w, ]*) \|", page, re.MULTILINE)
    }
    there: dict[str, set[str]] = {}
    for sample in seen.samples:
        if sample.name.startswith("handclasp_") and not sample.name.endswith("_created"):
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            there.setdefault(name, set()).update(sample.labels.keys() - {"le", "pid"})
    declared = set(re.findall(r"^# TYPE (handclasp_\w+) ", seen.text, re.MULTILINE))
    assert there.items() <= told.items()
    assert {name for name in declared if not name.endswith("_created")} <= told.keys()
