"""What one run of the load found, and how it says that an answer was wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


class WrongAnswerError(Exception):
    """An answer is missing or not the expected one. One of them makes a run void."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measured window of one run. CPU times are seconds of user and system time together."""

    done: int
    """Requests answered, or connections made, within the window."""
    seconds: float
    load_cpu: float
    server_cpu: float
    failed: int = 0
    reason: str = ""
    """The first failure, in words."""
    tls: str = ""
    """Version, cipher suite and key exchange group of the first connection."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Outcome:
        """Read what `to_json` wrote. Raises ValueError or TypeError where it is something else."""
        return cls(**json.loads(text))

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.done / self.seconds

    @property
    def rate_of_cpu(self) -> float:
        """How many a second of the server's CPU time: other processes on the same core disturb it less."""
        return self.done / self.server_cpu if self.server_cpu else 0.0

    @property
    def load_share(self) -> float:
        """The part of its core that the load used. Near 1 the load was the limit, not the server."""
        return self.load_cpu / self.seconds

    @property
    def server_share(self) -> float:
        return self.server_cpu / self.seconds
