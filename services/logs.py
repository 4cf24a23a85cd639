"""Logs: structured lines on stderr, one a request."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from pki.shell import in_colour, visible
from services.transport.engine import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.peer import Peer
    from services.transport.engine import Config

Ended: TypeAlias = "Callable[[Any, int | None, float], None]"
"""What is told of a request that has ended: its scope, the status (None: never answered), and seconds."""

_access = structlog.get_logger("handclasp.access")
_engine = structlog.get_logger("handclasp.engine")


_LONGEST = 1_024
"""Characters of one thing that is told: certificates and requests hold as many as a stranger likes."""


def bounded(fact: Any) -> Any:
    """The fact; where it is a text, no more than a log has room for."""
    return f"{fact[: _LONGEST - 1]}…" if isinstance(fact, str) and len(fact) > _LONGEST else fact


def _bound(_: Any, __: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: bounded(fact) for name, fact in facts.items()}


def _shown(_: Any, __: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Nothing that a stranger wrote moves a terminal's cursor, or turns a line round; JSON escapes it by itself."""
    return {name: visible(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


def configure(*, json: bool) -> None:
    """Set up structlog for this process: JSON lines, or lines for people (in colour on a terminal alone)."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bound,
    ]
    if json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors += [
            _shown,
            structlog.dev.ConsoleRenderer(
                colors=in_colour(sys.stderr), exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
            ),
        ]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger("INFO"),
        cache_logger_on_first_use=True,
    )


def access(scope: Any, status: int | None, seconds: float) -> None:
    """Write one request's line, with the rule that let it in. The query is left out: it may hold secrets."""
    ours = scope["extensions"]["handclasp"]
    peer: Peer = ours["peer"]
    decided = {"decision": ours["decision"]} if "decision" in ours else {}
    websocket = scope["type"] == "websocket"
    _access.info(
        "request",
        method="GET" if websocket else printable(scope["method"].encode("latin-1", "replace")),
        path=printable(scope["raw_path"]),
        status=status,
        protocol=("WebSocket over HTTP/" if websocket else "HTTP/") + scope["http_version"],
        ms=round(seconds * 1000, 1),
        identity=peer.identity.name,
        **decided,
    )


def printable(raw: bytes) -> str:
    """Return bytes from the network as text that stays on its line and in its columns."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"\\x{byte:02x}" for byte in raw)


_NO_LIFESPAN = "ASGI Framework Lifespan error, continuing without"


class EngineLogger(Logger):
    """What Hypercorn's classes log, as lines of ours."""

    def __init__(self, config: Config, ended: Ended | None = None) -> None:
        """`ended` is told of each request that has ended over HTTP/1.1."""
        self._ended = ended or (access if config.accesslog is not None else None)

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        if self._ended is not None:
            self._ended(request, None if response is None else int(response["status"]), request_time)

    async def critical(self, message: str, *args: Any, **_: Any) -> None:
        _engine.critical(message % args if args else message)

    async def error(self, message: str, *args: Any, **_: Any) -> None:
        _engine.error(message % args if args else message)

    async def warning(self, message: str, *args: Any, **_: Any) -> None:
        if message.startswith(_NO_LIFESPAN):  # Django and others: ASGI leaves it to them
            _engine.info("the application has no lifespan: it is served without one")
            return
        _engine.warning(message % args if args else message)

    async def info(self, message: str, *args: Any, **_: Any) -> None:
        _engine.info(message % args if args else message)

    async def debug(self, message: str, *args: Any, **_: Any) -> None:
        _engine.debug(message % args if args else message)

    async def exception(self, message: str, *args: Any, **_: Any) -> None:
        _engine.exception(message % args if args else message)

    async def log(self, level: int, message: str, *args: Any, **_: Any) -> None:
        _engine.log(level, message % args if args else message)
