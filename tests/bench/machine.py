"""The machine and the software that were measured, and the two cores: one for the server, one for the load."""

from __future__ import annotations

import os
import platform
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl.backend import backend

PACKAGES = ("hypercorn", "quart", "h2", "h11", "uvloop", "cryptography", "pyopenssl")


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU numbers; None where the platform has no affinity."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Take the first and the last CPU that this process may use: on one core only, they are the same."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])

    @property
    def caveat(self) -> str | None:
        """What a reader has to know of the cores, if anything."""
        if self.server is None:
            return "this platform pins no process to a core: server and load move about"
        if self.server == self.load:
            return "one core alone: server and load share it, and the figures are too low"
        return None


def pin(core: int | None) -> None:
    """Keep this process, and those that it starts from now on, on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def describe(cores: Cores) -> dict[str, str]:
    """What was measured, where and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} x {_cpu_model()}, {platform.system()} {platform.release()}",
        "cores": f"server on CPU {cores.server}, load on CPU {cores.load}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl of ours (and of the load)": backend.openssl_version_text(),
        "openssl of stock": ssl.OPENSSL_VERSION,
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
