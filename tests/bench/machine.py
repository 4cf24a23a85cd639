"""The machine and the software that were measured, and who runs on which of its cores."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import ssl
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.backends.openssl.backend import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "hypercorn", "quart", "h2", "h11", "uvloop", "cryptography", "pyopenssl", "uvicorn", "httptools", "zttp", "granian",
    "aiohttp", "grpcio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU numbers; none where the platform has no affinity."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def choose(cls, workers: int = 1) -> Cores:
        """Take the first CPUs that this process may use for the server, one a worker, and the last one for the load.

        Where that leaves none to the load alone, several workers share theirs with it.
        """
        allowed = _allowed()
        return cls(frozenset(allowed[:workers]), frozenset(allowed[-1:]))

    @classmethod
    def shared(cls, workers: int) -> Cores:
        """One core a worker, and the load on the same ones: what they do together grows as the cores do."""
        one = cls.choose(workers)
        return cls(one.server, one.server)

    @property
    def caveat(self) -> str | None:
        """What a reader has to know of the cores, if anything."""
        if not self.server:
            return "this platform pins no process to a core: server and load move about"
        if self.server & self.load:
            return "one core alone: server and load share it, and the figures are too low"
        return None


@cache
def _allowed() -> tuple[int, ...]:
    """Those that this process might use when it was first asked: later it is pinned to some of them itself."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


_allowed()


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started meanwhile stay on these cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> int:
    """Let this process and its children have as many open files as they may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 20)


def describe(cores: Cores) -> dict[str, str]:
    """What was measured, where and when."""
    server, load = (", ".join(map(str, sorted(some))) or "any" for some in (cores.server, cores.load))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} x {_cpu_model()}, {_memory():.0f} GiB, {platform.system()} {platform.release()}",
        "cores": f"server on CPU {server}, load on CPU {load}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "OpenSSL": f"{backend.openssl_version_text()} in ours and in the loop; {ssl.OPENSSL_VERSION} in `ssl`",
        "Go": _go(),
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        return "none"
    return subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout.strip()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
