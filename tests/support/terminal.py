"""A program on a terminal of its own: what it shows, and what is typed there."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATIENCE = 60.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07|\r")


class Terminal:
    """Runs `words` on a pseudo-terminal, 200 columns wide, until the block ends."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self.raw = ""
        self._status: int | None = None
        self._process, self._line = pty.fork()
        if not self._process:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # as a shell does: who runs the tests may ignore it
            os.chdir(folder)
            os.execvpe(words[0], list(words), {"COLUMNS": "200", "LINES": "50", **environment})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is None:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        os.close(self._line)

    @property
    def text(self) -> str:
        """What was shown, without colours and movements."""
        return _CONTROLS.sub("", self.raw)

    @property
    def coloured(self) -> bool:
        """Whether anything of it asks for a colour, or for bold."""
        return bool(_COLOURS.search(self.raw))

    def type(self, keys: str) -> None:
        os.write(self._line, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C, once it sleeps over what was asked.

        Between writing a question and reading the answer, Python's `input` notes a signal and then reads all the same;
        no person is that fast, a test is.
        """
        until = time.monotonic() + _PATIENCE
        while self._state() != "S":
            assert time.monotonic() < until, f"it does not wait for an answer: {self.text!r}"
            time.sleep(0.01)
        self.type("\x03")

    def _state(self) -> str:
        """One letter, R where it runs and S where it sleeps: proc(5)."""
        return Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()[0]

    def wait_for(self, words: str, after: int = 0) -> None:
        """Until these words are shown, behind the first `after` characters of the text."""
        until = time.monotonic() + _PATIENCE
        while words not in self.text[after:]:
            assert time.monotonic() < until, f"waited in vain for {words!r}: {self.text!r}"
            assert self._read(0.1), f"it ended without {words!r}: {self.text!r}"

    def end(self) -> int:
        """Wait until it ends; its exit code, or the negative number of the signal."""
        until = time.monotonic() + _PATIENCE
        while self._read(0.1):
            assert time.monotonic() < until, f"it does not end: {self.text!r}"
        self._status = os.waitpid(self._process, 0)[1]
        return os.waitstatus_to_exitcode(self._status)

    def _read(self, patience: float) -> bool:
        """Take what there is; False where nothing will come any more."""
        if not select.select([self._line], [], [], patience)[0]:
            return True
        try:
            data = os.read(self._line, 65536)
        except OSError:  # Linux says so of a terminal that nobody holds open
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)
