"""What `just audit` says of pinned dependencies, by a database of advisories of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / ".ci/audit.py"
ADVISORY = {
    "id": "PYSEC-0000-1",
    "summary": "It believes what it is told.",
    "published": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "idna"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.11"}]}],
        }
    ],
}


@contextmanager
def database(*advisories: dict[str, Any]) -> Iterator[str]:
    """An OSV database on this machine that has the same advisories for everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"vulns": advisories} if advisories else {}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(folder: Path, url: str, *words: str) -> tuple[int, str]:
    lock = folder / "some.lock"
    lock.write_text(f"idna==3.10 --hash=sha256:{'0' * 64}\n")
    command = [sys.executable, str(SCRIPT), str(lock), "--osv-url", url, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_a_finding_fails(tmp_path: Path) -> None:
    with database(ADVISORY) as url:
        code, said = audit(tmp_path, url)
    assert (code, said) == (
        1,
        "audit: idna 3.10: PYSEC-0000-1, mended in 3.11\naudit: 1 packages audited, 1 findings\n",
    )


def test_nothing_known_is_well(tmp_path: Path) -> None:
    with database() as url:
        assert audit(tmp_path, url, "--strict") == (0, "audit: 1 packages audited, 0 findings\n")


def test_no_answer_is_said_and_is_no_failure(tmp_path: Path) -> None:
    """A machine without a way to the advisories does not claim that there are none; it fails where that was asked."""
    nowhere = "http://127.0.0.1:9/v1/query"
    code, said = audit(tmp_path, nowhere)
    assert code == 0
    assert said.startswith("audit: NOTHING WAS AUDITED:\naudit:   osv: ")
    assert said.endswith("audit: 0 packages audited, 0 findings\n")
    assert audit(tmp_path, nowhere, "--strict")[0] == 1
