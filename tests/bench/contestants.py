"""Who is measured: each server's name, how it is started, and what it can say."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tests.bench.app import BY_CONSTANT, BY_PEER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Protocol = Literal["h1", "h2"]


IDLE = 3600
"""Seconds that every server keeps a connection that has nothing to do: it waits for its turn, or is weighed."""

CONNECTIONS = 20_000
"""More than are ever made at once, where a server has such a limit."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a server is told when it is started."""

    application: str
    port: int
    credential: Path
    folder: Path
    """For files of its own."""
    programs: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server by name, before it is started."""

    name: str
    command: Callable[[Start], list[str]]
    body: bytes = BY_CONSTANT
    """What it answers: only a server that tells the application who calls greets by name."""
    needs: str = ""
    """A module, without which it takes no part."""
    protocols: tuple[Protocol, ...] = ("h1", "h2")
    workers: int = 1
    """Processes; it says that all of them are ready by a line with `https://`."""
    speaks_http1: bool = True
    """Whether it can be asked over HTTP/1.1 if it is ready; else a handshake says so."""
    application: str = ""
    """What it serves in the place of what the others serve."""

    def missing(self) -> str | None:
        """What has to be installed first, if anything."""
        if self.needs == "go":
            return None if shutil.which("go") else "Go is not installed: apt install golang"
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"{self.needs} is not installed: uv sync --group bench"
        return None


def _ours(*options: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        place = ["--credential", str(start.credential), "--bind", f"127.0.0.1:{start.port}", "--no-access-log"]
        more = [option.format(folder=start.folder) for option in options]
        return [sys.executable, "-m", "services", start.application, *place, *more]

    return command


def _peer(module: str, *options: str, application: bool = True) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        first = [start.application] if application else []
        words = [sys.executable, "-m", f"tests.bench.peers.{module}", *first]
        return [*words, str(start.port), str(start.credential), *options]

    return command


def _go(start: Start) -> list[str]:
    return [str(start.programs / "gonet"), str(start.port), str(start.credential)]


OURS = Contestant("handclasp", _ours(), BY_PEER)
STOCK = Contestant("stock hypercorn", _peer("stock"))
"""As it comes: its default worker. The targets speak of it."""
STOCK_UVLOOP = Contestant("stock hypercorn, uvloop", _peer("stock", "--worker", "uvloop"))
UVICORN = Contestant("uvicorn", _peer("uvicorn", "h1"), needs="uvicorn", protocols=("h1",))
UVICORN_ZTTP = Contestant("uvicorn, zttp", _peer("uvicorn", "h2"), needs="zttp")
GRANIAN = Contestant("granian", _peer("granian"), needs="granian")
AIOHTTP = Contestant("aiohttp", _peer("aiohttp", application=False), BY_PEER, needs="aiohttp", protocols=("h1",))
GO = Contestant("go net/http", _go, BY_PEER, needs="go")
OPENSSL = Contestant("openssl loop", _peer("openssl_loop", application=False), protocols=("h1",))
GRPC = Contestant(
    "grpc.aio",
    _peer("grpc_aio", application=False),
    BY_PEER,
    needs="grpc",
    protocols=("h2",),
    speaks_http1=False,
)

_POLICY = ("--policy", "{folder}/policy.toml")
_AUDIT = ("--audit-log", "{folder}/audit.jsonl")
_ADMIN = ("--admin-bind", "unix:{folder}/admin.sock")

NAMELESS = "tests.bench.app:nameless_app"
WITH_NOTHING = Contestant("all off", _ours(), application=NAMELESS)
WITH_IDENTITY = Contestant("identity", _ours(), BY_PEER)
WITH_GUARD = Contestant("guard", _ours(*_POLICY), application=NAMELESS)
WITH_AUDIT = Contestant("audit", _ours(*_AUDIT), application=NAMELESS)
WITH_METRICS = Contestant("metrics", _ours(*_ADMIN), application=NAMELESS)
WITH_ALL = Contestant("all on", _ours(*_POLICY, *_AUDIT, *_ADMIN), BY_PEER)

ONE_WORKER = replace(OURS, name="1 worker")
TWO_WORKERS = Contestant("2 workers", _ours("--workers", "2"), BY_PEER, workers=2)

POLICY = """\
[[rule]]
path = "/admin/*"
allow = ["email:*@ops.example.com"]

[[rule]]
path = "/*"
methods = ["GET", "POST"]
allow = ["uri:spiffe://example.com/*", "email:*@example.com"]
"""
