"""A bar on a terminal, where there is enough to wait for."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from pki.shell import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# From so many on, it takes long enough to show how far it is.
_FROM = 10


@contextlib.contextmanager
def progress(doing: str, count: int) -> Iterator[Callable[[int], None]]:
    """Yield what to tell how many more are done."""
    if count < _FROM or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=count)
        yield lambda more: bar.advance(task, more)
