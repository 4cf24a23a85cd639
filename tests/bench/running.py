"""Servers that several figures share: started when the first of them asks, ended together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.bench.machine import Cores
from tests.bench.servers import ServerFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.bench.contestants import Contestant
    from tests.bench.figures import Figure
    from tests.bench.servers import Server, Stage


def cores_of(figure: Figure, contestant: Contestant) -> Cores:
    """Where the server runs in this figure, and where the load."""
    return Cores.shared(contestant.workers) if figure.shared else Cores.choose(contestant.workers)


def started(stage: Stage, figure: Figure, contestant: Contestant) -> AbstractContextManager[Server]:
    """A server for this figure, which ends with the context. Raises ServerFailedError."""
    application = contestant.application or figure.application
    return stage.running(contestant, application, cores_of(figure, contestant))


class Running(ExitStack):
    """A context manager: what it has started ends with it."""

    def __init__(self, stage: Stage, step: Callable[[str, int], None]) -> None:
        super().__init__()
        self._stage = stage
        self._step = step
        self._servers: dict[object, Server | ServerFailedError] = {}

    def of(self, figure: Figure, contestant: Contestant) -> Server:
        """The one that runs, or a new one. Raises ServerFailedError, and does not try a second time."""
        key = contestant.name, contestant.application, cores_of(figure, contestant)
        if key not in self._servers:
            self._step(f"starting {contestant.name}", 0)
            try:
                self._servers[key] = self.enter_context(started(self._stage, figure, contestant))
            except ServerFailedError as error:
                self._servers[key] = error
        found = self._servers[key]
        if isinstance(found, ServerFailedError):
            raise found
        return found
