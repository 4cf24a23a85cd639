"""The services as one ASGI application: Quart for what browsers and curl ask, RPC beside it."""

from __future__ import annotations

from quart import Quart, request

from services.greeter.routes import greeter
from services.health.routes import health
from services.pages.routes import pages
from services.quart_connection import make_lean
from services.rpc import WithRPC, conversations, services
from services.whoami.routes import whoami


def create_app() -> WithRPC:
    """Compose the services; what each does is in its folder."""
    app = Quart("services", static_folder=None)
    app.register_blueprint(greeter)
    app.register_blueprint(whoami)
    app.register_blueprint(health)
    app.register_blueprint(pages)
    app.before_request(_tell_service)
    make_lean(app)
    return WithRPC(app, services(), conversations())


async def _tell_service() -> None:
    """For the metrics: which of the services is asked."""
    request.scope["extensions"]["handclasp"]["service"] = request.blueprint or ""


app = create_app()
