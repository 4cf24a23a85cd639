"""The house itself: its entry points, its public surface, its lock, and what may stand in no file."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

SURFACE = {
    "clients.api": {"Reply", "WhoAmI"},
    "clients.errors": {
        "BadResponse",
        "CertificateRefused",
        "ClientError",
        "ConnectionLost",
        "CredentialProblem",
        "InvalidRequest",
        "RPCError",
        "ServerNotTrusted",
        "TimedOut",
        "Unreachable",
        "WrongHostName",
        "WrongProtocol",
    },
    "clients.http1": {"AsyncClient", "Client"},
    "clients.http2": {"AsyncClient", "Client"},
    "clients.renewal": {"AsyncAutoRenew", "AutoRenew"},
    "clients.rpc": {"Codec", "Method", "Protocol"},
    "clients.workload": {"WorkloadCredential"},
    "pki.credential": {"Credential"},
    "pki.errors": {
        "AlreadyExists",
        "CSRError",
        "CorruptState",
        "CredentialError",
        "EnrollmentError",
        "IdentityError",
        "InsecurePermissions",
        "InvalidName",
        "InventoryError",
        "Locked",
        "NotFound",
        "PKIError",
        "PassphraseError",
        "StateError",
        "TokenError",
        "TrustError",
        "UsageError",
    },
    "pki.identity": {"Identity", "Purpose"},
    "pki.trust": {"TrustBundle"},
    "services.authorization.authorizers": {
        "ANYBODY",
        "Authorizer",
        "PatternError",
        "all_of",
        "allow_dns",
        "allow_email",
        "allow_fingerprint",
        "allow_issuer",
        "allow_uri",
        "any_of",
        "deny",
    },
    "services.authorization.gate": {"Call", "Gate"},
    "services.peer": {"NoPeerError", "PathCertificate", "Peer", "current_peer"},
}
"""What others may build on. A name that leaves or changes its meaning is a line under *Changed* or *Removed*."""

ONLY_IN = {
    "hypercorn": {"services/transport/engine.py", "services/stock.py"},
    "OpenSSL": {f"services/transport/{name}.py" for name in ("connection", "context", "handshake", "wire")},
    "httpx": {
        f"clients/{name}.py"
        for name in ("bootstrap", "http2/__init__", "http2/transport", "rpc/calls", "session", "translation")
    },
    "uvloop": {"services/processes.py"},
    "prometheus_client": {"services/metrics.py"},
    "pydantic_settings": {"services/settings.py"},
    "opentelemetry": {"clients/tracing.py", "services/telemetry.py", "services/tracing.py"},
}
"""Who may import what is replaced with effort; a new module needs no line here, and no list to be forgotten in."""


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, at run time or for its types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("entry", PROJECT["project"]["scripts"].values())
def test_every_command_has_its_function(entry: str) -> None:
    module, _, function = entry.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("module", SURFACE)
def test_the_public_surface_is_what_it_is_said_to_be(module: str) -> None:
    """No more and no less; each is there, and says what it is."""
    found = importlib.import_module(module)
    assert set(found.__all__) == SURFACE[module]
    for name in found.__all__:
        thing = getattr(found, name)
        assert not callable(thing) or thing.__doc__, name


def test_every_module_with_a_surface_is_guarded() -> None:
    ours = (path for folder in ("pki", "services", "clients") for path in (ROOT / folder).rglob("*.py"))
    declare = {path.relative_to(ROOT) for path in ours if "\n__all__ = " in path.read_text()}
    declare -= {Path("services/transport/engine.py")}  # what it takes from elsewhere, for its neighbours
    named = {module.replace(".", "/") for module in SURFACE}
    assert {str(path.with_suffix("")).removesuffix("/__init__") for path in declare} == named


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_library_is_imported_where_it_belongs(package: str) -> None:
    sources = [path for folder in ("pki", "services", "clients") for path in (ROOT / folder).rglob("*.py")]
    importers = {path.relative_to(ROOT).as_posix() for path in sources if package in imported(path)}
    assert importers == ONLY_IN[package]


def test_the_system_s_roots_are_named_nowhere() -> None:
    """No call that loads them, in no module: trust is the bundle of the credential folder."""
    calls = re.compile(r"set_default_verify_paths|load_default_certs|create_default_context|\bcertifi\b|truststore")
    for folder in ("pki", "services", "clients"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not calls.search(path.read_text()), path


def test_contexts_are_never_swapped_or_mended() -> None:
    """No SNI callback, no other context for a connection that has one, no list put into a store that is in use."""
    calls = re.compile(r"servername_callback|sni_callback|\.set_context\(|\.add_crl\(|load_locations\(|get_cert_store")
    for path in (ROOT / "services").rglob("*.py"):
        if path.relative_to(ROOT).as_posix() != "services/transport/context.py":
            assert not calls.search(path.read_text()), path
    context = (ROOT / "services/transport/context.py").read_text()
    assert not re.search(r"servername_callback|sni_callback|\.set_context\(|\.add_crl\(", context)


def test_the_lock_holds_hashes_and_no_host() -> None:
    """Every dependency that the project names is pinned by version and hash; nothing says where it is from."""
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))
    named = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    for requirement in named:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None
        assert name[0].lower().replace("_", "-") in pinned
    assert len(re.findall(r"--hash=sha256:", lock)) >= len(pinned)
    assert "://" not in lock


def test_no_file_names_a_registry() -> None:
    """No host of a package registry, no lock of uv's, which names one."""
    hosts = re.compile(r"(pypi|pythonhosted|npmjs|deb[.]debian)[.](org|com)")
    for path in tracked():
        assert path.name != "uv.lock"
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if path != Path(__file__):
            assert not hosts.search(text), path


def test_the_changelog_keeps_its_form() -> None:
    """Keep a Changelog 1.1.0: the unreleased first, versions with their dates behind it, six kinds of changes."""
    headings = re.findall(r"^(#+) (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == [("#", "Changelog"), ("##", "[Unreleased]")]
    versions = [text for level, text in headings[2:] if level == "##"]
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", text) for text in versions), versions
    kinds = [text for level, text in headings if level == "###"]
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}, kinds
    assert {level for level, _ in headings} <= {"#", "##", "###"}


def test_hooks_run_what_is_here() -> None:
    """Before a commit nothing is fetched from anywhere: every hook is a tool of the project's own."""
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            run, tool = hook["entry"].split()[:2], hook["entry"].split()[2]
            assert run == ["uv", "run"]
            assert Path(sys.executable).with_name(tool).is_file(), tool
