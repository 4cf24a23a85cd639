"""Runs the console blocks of a page, in order, in one folder; with `--write`, puts what was printed into the page.

  python -m tests.docs.transcript docs/operations.md             run it; fail where a command ends otherwise than shown
  python -m tests.docs.transcript --write docs/operations.md     and write the output down

A line `$ command` is run by bash; what follows it, up to the next one, is its output. A command that is to fail ends
with `# exit 1`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_EXIT = re.compile(r"#\s*exit (\d+)$")


class Unexpected(Exception):
    """A command ended otherwise than the page says."""


def run_page(page: str, folder: Path) -> str:
    """The page with the output of this run. Raises Unexpected."""

    def block(match: re.Match[str]) -> str:
        commands = [line[2:] for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"$ {command}\n{_run(command, folder)}" for command in commands) + "```"

    return _BLOCK.sub(block, page)


def _run(command: str, folder: Path) -> str:
    scripts = str(Path(sys.executable).parent)
    hidden = ("HANDCLASP_", "COLUMNS", "TERM")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment["PATH"] = f"{scripts}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    wanted = int(found[1]) if (found := _EXIT.search(command)) else 0
    if done.returncode != wanted:
        raise Unexpected(f"{command}: exit {done.returncode}, not {wanted}:\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def main() -> int:
    """Run the page that is named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.transcript")
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true", help="put what was printed into the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            page = run_page(given.page.read_text(), Path(folder))
        except Unexpected as error:
            print(error, file=sys.stderr)
            return 1
    if given.write:
        given.page.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
