"""Quart: `@require(...)` on a route."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from quart import Quart, abort

from services.authorization.authorizers import Authorizer, allow_email, allow_uri, any_of
from services.peer import NoPeerError, current_peer

View = Callable[..., Awaitable[Any]]
ops = any_of(allow_email("*@ops.example.com"), allow_uri("spiffe://example.com/ops/*"))
app = Quart(__name__)
app.register_error_handler(NoPeerError, lambda _: ("Forbidden", 403))  # another server serves this: nobody is verified


def require(authorizer: Authorizer) -> Callable[[View], View]:
    """Let in whom `authorizer` means. It stands below `@app.get`, which registers what it is given."""

    def guard(view: View) -> View:
        @wraps(view)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            return await view(*args, **kwargs) if authorizer(current_peer().identity) else abort(403)

        return guarded

    return guard


@app.get("/")
async def hello() -> dict[str, str]:
    return {"greeting": f"Hello {current_peer().identity.name}!"}


@app.get("/admin")
@require(ops)
async def admin() -> dict[str, str]:
    return {"operator": current_peer().identity.name}
