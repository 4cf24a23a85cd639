"""The RPC services beside the web application: chosen by path, on one port (gRPC, gRPC-Web and Connect)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from services.answer import Answer, is_grpc, is_some_grpc
from services.audit import KEY as AUDIT
from services.contracts.grpc.health.v1.health_connect import HealthASGIApplication
from services.contracts.grpc.reflection.v1.reflection_connect import ServerReflectionASGIApplication
from services.contracts.grpc.reflection.v1alpha.reflection_connect import (
    ServerReflectionASGIApplication as ServerReflectionAlphaASGIApplication,
)
from services.contracts.handclasp.enrollment.v1.enrollment_connect import EnrollmentServiceASGIApplication
from services.contracts.handclasp.greeter.v1.greeter_connect import GreeterServiceASGIApplication
from services.contracts.handclasp.identity.v1.identity_connect import IdentityServiceASGIApplication
from services.endings import bind_failures
from services.enrollment.rpc import MAX_REQUEST, Enroller
from services.enrollment.service import KEY as ENROLLMENT
from services.enrollment.service import bind_enrollment
from services.greeter.rpc import Greeter
from services.health.rpc import HealthCheck
from services.overview import KEY, bind_overview
from services.peer import current_peer
from services.reflection.rpc import Reflection, ReflectionAlpha
from services.reflection.service import Catalogue
from services.terms import legible, terms
from services.whoami.rpc import WhoAmI

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping

    from connectrpc.server import ConnectASGIApplication

    from services.audit import Audit

    ASGI = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class WithRPC:
    """An ASGI application: RPC services under `/package.Service/`, and a web application for all else."""

    def __init__(self, web: ASGI, services: Mapping[str, ASGI], conversations: Collection[str] = ()) -> None:
        """`services` are named in full, as a policy's `rpc` and the metrics name them.

        `conversations` are the paths of the methods that speak both ways at once.
        """
        self._web = web
        self._services = services
        self._conversations = frozenset(conversations)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            name = scope["path"][1:].partition("/")[0]
            service = self._services.get(name)
            if service is not None:
                scope["extensions"]["handclasp"]["service"] = name
                state = scope.get("state", {})
                audit = state.get(AUDIT)
                bind_failures(None if audit is None else partial(_write_down, audit))
                bind_overview(state.get(KEY))
                bind_enrollment(state.get(ENROLLMENT))
                answer = Answer(scope["path"][1:], scope["headers"], send)
                if scope["http_version"] != "2" and is_grpc(scope["headers"]):
                    await answer.needs_http2("gRPC needs HTTP/2; Connect and gRPC-Web do not")
                elif scope["http_version"] != "2" and scope["path"] in self._conversations:
                    await answer.needs_http2("this method speaks both ways at once, which needs HTTP/2")
                else:
                    scope["headers"] = legible(scope["headers"])
                    await service(scope, receive, answer)
                return
            if scope["method"] == "POST" and is_some_grpc(scope["headers"]):  # no page of the web application's
                await Answer(scope["path"][1:], scope["headers"], send).no_such_service()
                return
        await self._web(scope, receive, send)


def _write_down(audit: Audit, method: str, code: str, reason: str) -> None:
    audit.rpc_failed(current_peer(), method, code, reason)


def services() -> dict[str, ASGI]:
    """Every RPC service by its full name; reflection and health know of the others."""
    catalogued = [Greeter.desc(), WhoAmI.desc(), Enroller.desc()]
    health = HealthCheck([service.type_name for service in catalogued])
    catalogued += [HealthCheck.desc(), Reflection.desc(), ReflectionAlpha.desc()]
    catalogue = Catalogue((service.type_name, service.file) for service in catalogued)
    usual = terms()
    made: list[ConnectASGIApplication[Any]] = [
        GreeterServiceASGIApplication(Greeter(), **usual),
        IdentityServiceASGIApplication(WhoAmI(), **usual),
        EnrollmentServiceASGIApplication(Enroller(), **terms(MAX_REQUEST)),
        HealthASGIApplication(health, **usual),
        ServerReflectionASGIApplication(Reflection(catalogue), **usual),
        ServerReflectionAlphaASGIApplication(ReflectionAlpha(catalogue), **usual),
    ]
    return {application.path.removeprefix("/"): application for application in made}


def conversations() -> list[str]:
    """The paths of all methods that speak both ways at once."""
    handlers = (Greeter, WhoAmI, Enroller, HealthCheck, Reflection, ReflectionAlpha)
    return [
        f"/{service.type_name}/{method.name}"
        for service in (handler.desc() for handler in handlers)
        for method in service.methods
        if method.method_kind == "bidi_streaming"
    ]
