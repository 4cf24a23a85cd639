"""`handclasp-serve --probe`: what a container's health check asks, where there is no shell and no curl."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deploy._serving import APP
from tests.support.admin import free_port
from tests.support.manager import started
from tests.support.tools import ours

if TYPE_CHECKING:
    from pathlib import Path


def probe(folder: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [ours("handclasp-serve"), *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_a_server_that_is_ready_and_then_is_not(tmp_path: Path, credentials: Path) -> None:
    """By the settings that the server has too (a container's environment), or by a URL."""
    bind = f"0.0.0.0:{free_port()}"
    options = [APP, "--credential", str(credentials / "localhost"), "--bind", "localhost:0", "--admin-public"]
    environment = {"HANDCLASP_ADMIN_BIND": bind, "HANDCLASP_ADMIN_PUBLIC": "true"}
    with started(tmp_path, *options, "--admin-bind", bind) as service:
        service.port()
        assert probe(tmp_path, "--probe", "readyz", **environment) == (0, "ok", "")
        assert probe(tmp_path, "--probe", "livez", **environment) == (0, "ok", "")
        url = f"http://127.0.0.1:{bind.rpartition(':')[2]}"
        assert probe(tmp_path, "--probe", f"{url}/readyz") == (0, "ok", "")
        assert probe(tmp_path, "--probe", f"{url}/nowhere")[0] == 1
        service.signal(signal.SIGTERM)
        service.exit_code()
        code, out, err = probe(tmp_path, "--probe", "readyz", **environment)
        assert (code, out) == (1, "")
        assert err.startswith("no answer: ")


def test_a_unix_socket(tmp_path: Path, credentials: Path) -> None:
    bind = f"unix:{tmp_path}/admin.sock"
    options = [APP, "--credential", str(credentials / "localhost"), "--bind", "localhost:0", "--admin-bind", bind]
    with started(tmp_path, *options) as service:
        service.port()
        assert probe(tmp_path, "--admin-bind", bind, "--probe", "readyz") == (0, "ok", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--probe", "readyz"), "there is no admin listener to ask"),
        (("--probe", "healthy", "--admin-bind", "localhost:9443"), "ask livez, readyz or an http:// URL"),
        (("--probe", "http://localhost:port/"), "is no URL"),
        (("--probe", "http:///readyz"), "names no host"),
        (("--probe", "livez", "--admin-bind", "fd://admin"), "ask its http:// URL"),
    ],
)
def test_a_question_that_makes_no_sense(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    code, out, err = probe(tmp_path, *words)
    assert (code, out) == (2, "")
    assert err.startswith("handclasp-serve: error: probe: ")
    assert said in err
