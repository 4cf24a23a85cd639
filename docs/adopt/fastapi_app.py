"""FastAPI: `Caller` for a route that asks who calls, `require(...)` for one that is not for everybody."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException

from services.authorization.authorizers import Authorizer, allow_email, allow_uri, any_of
from services.peer import NoPeerError, Peer, current_peer


async def caller() -> Peer:
    try:
        return current_peer()
    except NoPeerError:  # another server serves this: nobody is verified
        raise HTTPException(403) from None


def require(authorizer: Authorizer) -> Any:
    async def check(peer: Caller) -> Peer:
        if authorizer(peer.identity):
            return peer
        raise HTTPException(403)

    return Depends(check)


Caller = Annotated[Peer, Depends(caller)]
Operator = Annotated[Peer, require(any_of(allow_email("*@ops.example.com"), allow_uri("spiffe://example.com/ops/*")))]
app = FastAPI(dependencies=[Depends(caller)], openapi_url=None)  # /docs and /openapi.json would ask for no `Caller`


@app.get("/")
async def hello(peer: Caller) -> dict[str, str]:
    return {"greeting": f"Hello {peer.identity.name}!"}


@app.get("/admin")
async def admin(peer: Operator) -> dict[str, str]:
    return {"operator": peer.identity.name}
