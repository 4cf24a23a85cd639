"""The compose file: by the specification, and each of its commands as run, in its order, against a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from compose_spec import PyCompose

from tests.support.admin import free_port
from tests.support.server import ROOT, eventually
from tests.support.tools import ours

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "deploy" / "compose.yaml"


def compose() -> dict[str, Any]:
    found = yaml.safe_load(FILE.read_text())
    assert isinstance(found, dict)
    return found


def test_it_is_what_the_specification_says() -> None:
    PyCompose.from_json(json.dumps(compose()))


@pytest.mark.parametrize("key", ["prots", "readonly"])
def test_a_key_that_is_not_known_would_be_found(key: str) -> None:
    broken = compose()
    broken["services"]["service"][key] = []
    with pytest.raises(ValueError, match=key):
        PyCompose.from_json(json.dumps(broken))


def test_what_is_ours_is_locked_up() -> None:
    """Read-only, without capabilities; the database is not reachable from outside; no password is in the file."""
    there = compose()
    assert there["networks"]["inside"]["internal"] is True
    for name, service in there["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "database":
            assert service["read_only"] is True
        if name != "service":
            assert "ports" not in service
            assert service["networks"] == ["inside"]
    assert "${POSTGRES_PASSWORD:?" in there["services"]["database"]["environment"]["POSTGRES_PASSWORD"]


class Site:
    """The services as processes: the folder in the volume's place, the real database in that of the container's."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self._database = folder, database
        self.ports = {"8443": str(free_port()), "8444": str(free_port()), "9443": str(free_port())}
        self.services = compose()["services"]

    def words(self, name: str) -> list[str]:
        service = self.services[name]
        words = [*service.get("entrypoint", ["handclasp-serve"]), *service.get("command", [])]
        return [ours(words[0]), *(self._here(word) for word in words[1:])]

    def environment(self, name: str) -> dict[str, str]:
        # What the image sets, and the service over it.
        image = {"HANDCLASP_BIND": "0.0.0.0:8443", "HANDCLASP_ADMIN_BIND": "127.0.0.1:9443"}
        spoken = image | self.services[name]["environment"] | {"HANDCLASP_DATABASE": self._database}
        return {"PATH": os.environ["PATH"]} | {key: self._here(value) for key, value in spoken.items()}

    def _here(self, word: str) -> str:
        word = word.replace("0.0.0.0:", "127.0.0.1:")
        for port, free in self.ports.items():
            word = word.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        return word.replace("/var/lib/handclasp", str(self.folder / "state"))

    def run(self, name: str, *more: str) -> str:
        done = subprocess.run(
            [*self.words(name), *more], env=self.environment(name), cwd=self.folder,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                self.words(name), env=self.environment(name), cwd=self.folder, stdout=log, stderr=log
            )


@pytest.mark.slow
def test_it_comes_up_and_a_caller_enrolls(tmp_path: Path, postgresql_url: str) -> None:
    """In the order of `depends_on`; a token, a first certificate, a renewal, a request; and once more from the top."""
    site = Site(tmp_path, postgresql_url)
    for _ in range(2):  # `compose up` again: what is there is kept
        site.run("authority")
        site.run("credential")
    processes = [site.start(name) for name in ("renewal", "lists", "service")]
    try:
        eventually(lambda: "Handclasp is ready" in (tmp_path / "service.log").read_text(), 40)
        probe = [ours("handclasp-serve"), "--probe", "readyz"]
        asked = subprocess.run(probe, env=site.environment("service"), cwd=tmp_path, capture_output=True, check=False)
        assert asked.stdout == b"ok\n"
        (tmp_path / "token").write_text(site.run("token", "alice", "--email", "alice@example.com"))
        authority = tmp_path / "state" / "authority" / "ca.crt"
        mark = subprocess.run(
            ["openssl", "x509", "-in", str(authority), "-noout", "-fingerprint", "-sha256"],
            capture_output=True, text=True, check=True,
        ).stdout.partition("=")[2].strip()  # fmt: skip
        http2, alice = ours("handclasp-http2"), str(tmp_path / "alice")
        enroll = ("--url", f"https://localhost:{site.ports['8444']}", "--fingerprint", mark)
        token = ("--token-file", str(tmp_path / "token"), "--out", alice)
        url = ("--url", f"https://localhost:{site.ports['8443']}")
        for words in (("enroll", *enroll, *token), ("renew", *url, "--credential", alice)):
            subprocess.run([http2, *words], cwd=tmp_path, check=True, capture_output=True, timeout=30)
        greeted = subprocess.run(
            [http2, *url, "--credential", alice], cwd=tmp_path, check=True, capture_output=True, timeout=30
        )
        assert greeted.stdout == b"Hello alice@example.com!\n"
        eventually(lambda: (tmp_path / "state" / "ca.crl").exists(), 20)
        time.sleep(0.5)
        assert all(process.poll() is None for process in processes), "they stay"
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(40) for process in processes]
    assert codes == [0, 0, 0], [(tmp_path / f"{name}.log").read_text() for name in ("renewal", "lists", "service")]
