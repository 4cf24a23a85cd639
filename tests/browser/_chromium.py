"""Chromium as an organisation sets it up: its own key store, and a policy that says which certificate to show."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Playwright

_POLICIES = Path("/etc/chromium/policies/managed")
"""The only place where Chromium looks for them."""

_QUIET = [
    "--no-sandbox",  # which root, in a container, cannot have
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def selecting() -> Iterator[None]:
    """Have Chromium show a certificate without asking, to servers of this machine alone."""
    policy = _POLICIES / f"handclasp-tests-{os.getpid()}.json"
    try:
        _POLICIES.mkdir(parents=True, exist_ok=True)
        policy.write_text(
            json.dumps({"AutoSelectCertificateForUrls": ['{"pattern":"https://localhost","filter":{}}']}), "utf-8"
        )
    except PermissionError:
        pytest.skip(f"Chromium takes policies from {_POLICIES} alone: run this test as root")
    try:
        yield
    finally:
        policy.unlink()


def home(folder: Path, trust: Path, credential: Path | None) -> Path:
    """A HOME whose key store holds the authority, and the credential with its key."""
    certutil, pk12util, openssl = require("certutil"), require("pk12util"), require("openssl")
    store = folder / ".pki" / "nssdb"
    store.mkdir(parents=True)
    database = f"sql:{store}"
    _run(certutil, "-N", "-d", database, "--empty-password")
    _run(certutil, "-A", "-d", database, "-n", "authority", "-t", "C,,", "-i", str(trust))
    if credential is not None:
        bundle = folder / "credential.p12"
        pair = ["-in", str(credential / "tls.crt"), "-inkey", str(credential / "tls.key")]
        _run(openssl, "pkcs12", "-export", *pair, "-out", str(bundle), "-passout", "pass:handclasp")
        _run(pk12util, "-i", str(bundle), "-d", database, "-W", "handclasp")
    return folder


@contextmanager
def chromium(playwright: Playwright, home: Path) -> Iterator[Browser]:
    """The browser of the person whose HOME this is."""
    browser = playwright.chromium.launch(
        executable_path=require("chromium"), args=_QUIET, env={**os.environ, "HOME": str(home)}
    )
    try:
        yield browser
    finally:
        browser.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
