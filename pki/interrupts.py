"""Ctrl-C before a command has begun: it ends at once, and no line tells of modules that were being read."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 130
"""The exit code, as a shell reports it of a program that the signal has ended."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the kernel end the process meanwhile, where nobody has said otherwise: an exception could come anywhere."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
