"""`grpc.health.v1.Health`: what gRPC's own probes and load balancers ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from services.contracts.grpc.health.v1.health_connect import Health
from services.contracts.grpc.health.v1.health_pb import HealthCheckResponse
from services.health.service import check
from services.overview import current_overview

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from services.contracts.grpc.health.v1.health_pb import HealthCheckRequest

_BEAT = 1.0
"""Seconds between two looks at whether the server stops."""

_Status = HealthCheckResponse.ServingStatus


class HealthCheck(Health):
    """Knows of these services, and of the server as a whole: the empty name."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = {"", *services}

    async def check(self, request: HealthCheckRequest, ctx: Any, /) -> HealthCheckResponse:  # noqa: ARG002
        if request.service not in self._services:
            raise ConnectError(Code.NOT_FOUND, "no such service is served here")
        return HealthCheckResponse(status=_serving())

    async def watch(self, request: HealthCheckRequest, ctx: Any, /) -> AsyncIterator[HealthCheckResponse]:  # noqa: ARG002
        known = request.service in self._services
        yield HealthCheckResponse(status=_serving() if known else _Status.SERVICE_UNKNOWN)
        overview = current_overview()
        while overview is None or not overview.stopping():  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(_BEAT)
        yield HealthCheckResponse(status=_Status.NOT_SERVING)  # and it ends: nobody has to wait for who only watches


def _serving() -> HealthCheckResponse.ServingStatus:
    return _Status.SERVING if check()["status"] == "ok" else _Status.NOT_SERVING
