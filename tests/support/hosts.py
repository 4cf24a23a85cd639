"""Several hosts on one machine: network namespaces, joined by a bridge in one more.

Their addresses exist in them alone.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "10.77.0"
_numbers = itertools.count(1)


class Hosts:
    """Hosts by name, each with the address that it was given: `10.77.0.N`."""

    def __init__(self, **addresses: int) -> None:
        self._prefix = f"hc-{os.getpid()}-{next(_numbers)}"
        self._addresses = addresses
        self._made: list[str] = []

    def make(self) -> None:
        """Make them, and connect them. Skips the test where this process may not."""
        switch = self._add("switch")
        self._ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        self._ip("-n", switch, "link", "set", "bridge", "up")
        for name, number in self._addresses.items():
            host = self._add(name)
            self._ip("-n", switch, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", host)
            self._ip("-n", switch, "link", "set", f"to-{name}", "master", "bridge", "up")
            self._ip("-n", host, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._ip("-n", host, "link", "set", device, "up")

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self._addresses[name]}"

    def on(self, name: str) -> list[str]:
        """The words in front of a command that runs on this host. The process is the command's own."""
        return [require("ip"), "netns", "exec", f"{self._prefix}-{name}"]

    def remove(self) -> None:
        for namespace in self._made:
            self._ip("netns", "delete", namespace)

    def _add(self, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        done = subprocess.run(
            [require("ip"), "netns", "add", namespace], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            pytest.skip(f"network namespaces cannot be made here (it takes root, CAP_SYS_ADMIN): {done.stderr.strip()}")
        self._made.append(namespace)
        return namespace

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run([require("ip"), *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def hosts(**addresses: int) -> Iterator[Hosts]:
    """Hosts that are gone behind the block; end what runs on them before."""
    made = Hosts(**addresses)
    try:
        made.make()
        yield made
    finally:
        made.remove()
