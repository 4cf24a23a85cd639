"""Who looks at the page of the authority right now: so many that it costs little, whoever opens how many."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST, MOST_OF_ONE = 64, 8
"""Pages that are told of what happens by one process, and of one identity."""


@dataclass(slots=True)
class Watching:
    """Those who are told, and what they were told last: it is the same for all of them."""

    names: Counter[str] = field(default_factory=Counter)
    moment: tuple[int, int, float] | None = None
    """Of what is shown: changes, generation, and a few seconds of the clock."""
    shown: str = ""

    def has_room_for(self, name: str) -> bool:
        """Whether one more may look."""
        return self.names.total() < MOST and self.names[name] < MOST_OF_ONE

    @contextmanager
    def one(self, name: str) -> Iterator[bool]:
        """Be one of them inside the block; False: there is no room any more."""
        if not self.has_room_for(name):
            yield False
            return
        self.names[name] += 1
        try:
            yield True
        finally:
            self.names[name] -= 1
            if not self.names[name]:
                del self.names[name]
