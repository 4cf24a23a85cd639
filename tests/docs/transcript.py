"""Follows a page as a reader does, in one shell and one folder; with `--write`, puts what was printed into the page.

  python -m tests.docs.transcript docs/operations.md             run it; fail where a command ends otherwise than shown
  python -m tests.docs.transcript --write docs/operations.md     and write the output down

In a block that is marked `console`, a line `$ command` is given to bash, and what follows it, up to the next one, is
its output. A command that ends with a backslash goes on in the next line. One that is to fail ends with `# exit 1`.
One that ends with `&`, or with `# in a terminal of its own`, goes on beside the others until the page is done; shown
is what it says until it is `ready`, or `listening`. A block with a title, such as `python title="hello.py"`, is a
file, and is written where it stands. The ports of the pages are free ones while they run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BLOCK = re.compile(r'^```(?:console|(\w+) title="([\w./-]+)")\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_EXIT = re.compile(r"#\s*exit (\d+)$")
_BESIDE = re.compile(r"\s(?:&|# in a terminal of its own)$")
_PORTS = ("8443", "8444", "9443")
_READY = re.compile(r"^.*\b(?:ready|listening)\b.*\n", re.MULTILINE)
_PATIENCE = 120.0
"""Seconds that a command may take."""


class Unexpected(Exception):
    """A command ended otherwise than the page says."""


def run_page(page: str, folder: Path, *, path: Sequence[Path | str] = (), **environment: str) -> str:
    """The page with the output of this run; `path` is where commands are looked for first. Raises Unexpected."""
    reader = Reader(folder, (*path, Path(sys.executable).parent), environment)

    def block(match: re.Match[str]) -> str:
        _, title, text = match.groups()
        if title:
            reader.write(title, text)
            return match[0]
        return "```console\n" + "".join(f"$ {command}\n{reader.run(command)}" for command in commands(text)) + "```"

    try:
        return _BLOCK.sub(block, page)
    finally:
        reader.leave()


def folder_for(page: Path, above: Path) -> Path:
    """Make the folder that a page is followed in: it is named like the page, and may be in what is printed."""
    folder = above / page.stem
    folder.mkdir()
    return folder


def commands(text: str) -> list[str]:
    """What a console block has after its dollar signs."""
    found: list[str] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            found[-1] += f"\n{line}"
        elif line.startswith("$ "):
            found.append(line[2:])
        else:
            continue
        goes_on = line.endswith("\\")
    return found


class Reader:
    """Somebody with an empty home, a folder, and one bash."""

    def __init__(self, folder: Path, path: Sequence[Path | str], more: Mapping[str, str]) -> None:
        self._folder = folder
        self._notes = Path(tempfile.mkdtemp(prefix="reader"))
        (self._notes / "home").mkdir()
        self._ports = {name: str(_free_port()) for name in _PORTS}
        hidden = ("HANDCLASP_", "COLUMNS", "TERM", "XDG_", "VIRTUAL_ENV", "PYTHON", "OTEL_", "SSL_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        environment |= {
            "HOME": str(self._notes / "home"),
            "PATH": ":".join([*map(str, path), environment["PATH"]]),
            "HANDCLASP_BIND": f"localhost:{self._ports['8443']}",
            "HANDCLASP_URL": f"https://localhost:{self._ports['8443']}",
            **more,
        }
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._count = 0

    def write(self, title: str, text: str) -> None:
        """Write a file that the page shows, below the folder."""
        file = self._folder / title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._with_ports(text))

    def run(self, command: str) -> str:
        """What it prints, line by line, without blanks at their ends. Raises Unexpected."""
        self._count += 1
        printed = self._notes / f"{self._count}.txt"
        beside = _BESIDE.search(command) is not None
        words = self._with_ports(command)
        # No braces around it: the signal of `kill %1` is for the program, not for a shell around it.
        bash = f"{_BESIDE.sub('', words)} &" if beside else words
        code = self._tell(f"eval {shlex.quote(bash)} </dev/null >{printed} 2>&1", command)
        text = self._until_ready(printed, command) if beside else printed.read_text(errors="replace")
        wanted = int(found[1]) if (found := _EXIT.search(command)) else 0
        if code != wanted:
            raise Unexpected(f"{command}: exit {code}, not {wanted}:\n{text}")
        return self._as_written("".join(f"{line.rstrip()}\n" for line in text.splitlines()))

    def leave(self) -> None:
        """End the shell and all that it has begun."""
        begun = psutil.Process(self._shell.pid).children(recursive=True) if self._shell.poll() is None else []
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        for process in begun:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.wait()
        with suppress(BrokenPipeError):
            self._shell.stdin.close()
        self._shell.stdout.close()

    def _tell(self, line: str, command: str) -> int:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{line}\nprintf '%s\\n' $?\n")
        self._shell.stdin.flush()
        patience = _Alarm(self._shell, _PATIENCE)
        answer = self._shell.stdout.readline()
        patience.off()
        if not answer:
            raise Unexpected(f"{command}: it ended the shell, or took more than {_PATIENCE:.0f} s")
        return int(answer)

    def _until_ready(self, printed: Path, command: str) -> str:
        end = time.monotonic() + _PATIENCE
        while (found := _READY.search(text := printed.read_text(errors="replace"))) is None:
            if time.monotonic() > end:
                raise Unexpected(f"{command}: it does not say that it is ready:\n{text}")
            time.sleep(0.05)
        return text[: found.end()]

    def _with_ports(self, text: str) -> str:
        for name, port in self._ports.items():
            text = re.sub(rf"\b{name}\b", port, text)
        return text

    def _as_written(self, text: str) -> str:
        for name, port in self._ports.items():
            text = re.sub(rf"\b{port}\b", name, text)
        return text


class _Alarm:
    """Kills a shell whose command takes too long."""

    def __init__(self, shell: subprocess.Popen[str], seconds: float) -> None:
        from threading import Timer

        self._timer = Timer(seconds, shell.kill)
        self._timer.daemon = True
        self._timer.start()

    def off(self) -> None:
        self._timer.cancel()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Run the page that is named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.transcript")
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true", help="put what was printed into the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            page = run_page(given.page.read_text(), folder_for(given.page, Path(folder)))
        except Unexpected as error:
            print(error, file=sys.stderr)
            return 1
    if given.write:
        given.page.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
