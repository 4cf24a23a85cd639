"""`handclasp-pki`, run as often as a test likes: a process that has imported it forks for each command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
import contextlib, io, json, os, resource, signal, sys
from pki.cli import main
import pki.opening, pki.commands.inventory, pki.commands.issue, pki.commands.renew

def child(asked, answer):
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    if asked["limit"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(asked["words"])
    os.write(answer, json.dumps([code, out.getvalue(), err.getvalue()]).encode())

for name in ("HANDCLASP_STATE", "HANDCLASP_CA_PASSPHRASE", "HANDCLASP_DATABASE"):
    os.environ.pop(name, None)
for line in sys.stdin:
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            child(json.loads(line), theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        print(answer.read() or json.dumps([None, "", "the command ended without an answer"]), flush=True)
    os.waitpid(pid, 0)
"""


class Commands:
    """A process that runs commands, each in a process of its own. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, state: Path, *words: str, limit: int | None = None, **environment: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; `limit` is how large a file may become. Runs beside the state folder."""
        asked = {
            "words": ["--state", str(state), *words],
            "folder": str(state.parent),
            "limit": limit,
            "environment": environment,
        }
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        print(json.dumps(asked), file=self._driver.stdin, flush=True)
        code, out, err = json.loads(self._driver.stdout.readline())
        return code, out, err

    def close(self) -> None:
        """End the process."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.stdout.close()
        self._driver.wait(30)
