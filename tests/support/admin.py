"""Asking the admin listener, as a probe or Prometheus does."""

from __future__ import annotations

import http.client
import random
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.support.wire import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping


def free_port() -> int:
    """A port that nobody has, and that the kernel gives to nobody who asks for any: it takes those from 32,768 on."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def ask(where: int | str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body of `GET path`, from a port of this machine or a socket's path."""
    if isinstance(where, str):
        connection: http.client.HTTPConnection = _OverUnix(where)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", where, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Scrape:
    """What `/metrics` said, taken apart by prometheus-client's own parser."""

    def __init__(self, where: int | str) -> None:
        status, self.text = ask(where, "/metrics")
        assert status == 200, self.text
        self.samples = [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 where there are none."""
        return sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        return [sample.labels for sample in self.samples if sample.name == name]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}
