"""Everything taken from inside Hypercorn, by name, in one file: where an upgrade is read first.

`Config` and `Logger` are its public face. The rest is internal to Hypercorn (pinned to one minor in pyproject.toml).
"""

from __future__ import annotations

from hypercorn.app_wrappers import ASGIWrapper, InvalidPathError, WSGIWrapper
from hypercorn.app_wrappers import _build_environ as build_environ
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.typing import AppWrapper, ConnectionState, WebsocketAcceptEvent
from hypercorn.utils import (
    LifespanFailureError,
    LifespanTimeoutError,
    is_asgi,
    suppress_body,
)

__all__ = [
    "ASGIWebsocketState",
    "ASGIWrapper",
    "AppWrapper",
    "Body",
    "Config",
    "ConnectionState",
    "Data",
    "EndBody",
    "EndData",
    "FrameTooLargeError",
    "InvalidPathError",
    "Lifespan",
    "LifespanFailureError",
    "LifespanTimeoutError",
    "Logger",
    "Request",
    "Response",
    "StreamClosed",
    "StreamEvent",
    "WSGIWrapper",
    "WSStream",
    "WebsocketAcceptEvent",
    "WorkerContext",
    "build_environ",
    "is_asgi",
    "suppress_body",
]
