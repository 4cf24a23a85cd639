"""Starlette: a backend for `AuthenticationMiddleware`, and `@requires("ops")` on a route."""

from starlette import authentication as auth
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from services.authorization.authorizers import allow_email, allow_uri, any_of

ops = any_of(allow_email("*@ops.example.com"), allow_uri("spiffe://example.com/ops/*"))


class PeerBackend(auth.AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[auth.AuthCredentials, auth.SimpleUser]:
        try:
            peer = conn.scope["extensions"]["handclasp"]["peer"]
        except (KeyError, TypeError):  # another server serves this: nobody is verified
            raise auth.AuthenticationError("Forbidden") from None
        return auth.AuthCredentials(["ops"] if ops(peer.identity) else []), auth.SimpleUser(peer.identity.name)


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"greeting": f"Hello {request.user.username}!"})


@auth.requires("ops")
async def admin(request: Request) -> JSONResponse:
    return JSONResponse({"operator": request.user.username})


refuse = Middleware(AuthenticationMiddleware, PeerBackend(), lambda _, error: PlainTextResponse(str(error), 403))
app = Starlette(routes=[Route("/", hello), Route("/admin", admin)], middleware=[refuse])
