"""The gate in front of any ASGI application: asks the policy of the current Snapshot, and an engine of one's own.

It fails closed: who has no peer, whom no rule allows and whose engine fails is answered 403.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from services.peer import NoPeerError, Peer, current_peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.authorization.policy import Policy, Protocol

__all__ = ["Call", "Gate"]

Engine: TypeAlias = "Callable[[Call], bool | Awaitable[bool]]"

log = structlog.get_logger("handclasp.policy")

_PATIENCE = 5.0
"""Seconds that an engine may think."""

_FORBIDDEN = b"Forbidden\n"


@dataclass(frozen=True, slots=True)
class Call:
    """What an engine is asked about: `--authorizer module:attribute` names a function of one Call, that says whether.

    It may be a coroutine function. Whatever it raises, or takes longer than five seconds over, is a no.
    """

    peer: Peer
    method: str
    """GET, for the handshake of a WebSocket."""
    path: str
    """Decoded once, as the application reads it."""
    protocol: Protocol
    scope: dict[str, Any]
    """The ASGI scope, to be read."""


class Gate:
    """An ASGI application in front of another."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        policy: Callable[[], Policy | None],
        engine: Engine | None = None,
        decided: Callable[[Peer, bool, str, str], None] = lambda _peer, _allowed, _by, _reason: None,
    ) -> None:
        """Ask the Policy that `policy` returns at this moment, None for none, and then the engine, if there is one.

        `decided` is told of each decision: who calls, whether they may, who said so (policy, engine), and why.
        """
        self._app = app
        self._policy = policy
        self._engine = engine
        self._decided = decided

    async def __call__(self, scope: Any, receive: Any, send: Any, *threads: Any) -> None:
        """Let it through to the application, or answer 403. `threads` is what Hypercorn's wrapper of WSGI asks for."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send, *threads)
            return
        allowed = self._allows(scope)
        if allowed and self._engine is not None:
            allowed = await self._engine_allows(self._engine, scope)
        if allowed:
            await self._app(scope, receive, send, *threads)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403 (ASGI, "Close")
        else:
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_FORBIDDEN))]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": _FORBIDDEN})

    def _allows(self, scope: dict[str, Any]) -> bool:
        """What the policy says; without one, yes. No coroutine: it is asked at each request."""
        policy = self._policy()
        if policy is None:
            return True
        try:
            peer = current_peer()
        except NoPeerError:
            return False
        protocol: Protocol = scope["type"]
        # The target as it was sent: what is decoded already hides where its segments end.
        target = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        decision = policy.decide(peer.identity, _method(scope), target, protocol)
        if not decision.allowed:
            self._say_no(peer, scope, "policy", decision.reason)
            return False
        ours = scope.get("extensions", {}).get("handclasp")
        if ours is not None:
            ours["decision"] = decision.reason  # for the request's own line in the log
        if self._engine is None:
            self._decided(peer, True, "policy", decision.reason)
        return True

    async def _engine_allows(self, engine: Engine, scope: dict[str, Any]) -> bool:
        try:
            peer = current_peer()
        except NoPeerError:
            return False
        ours = scope.get("extensions", {}).get("handclasp", {})
        if not await self._ask(engine, Call(peer, _method(scope), scope["path"], scope["type"], scope)):
            ours.pop("decision", None)
            self._say_no(peer, scope, "engine", "the engine denies it")
            return False
        self._decided(peer, True, "engine", ours.setdefault("decision", "no policy, an engine alone"))
        return True

    def _say_no(self, peer: Peer, scope: dict[str, Any], by: str, reason: str) -> None:
        log.warning("denied", identity=peer.identity.name, method=_method(scope), path=scope["path"], reason=reason)
        self._decided(peer, False, by, reason)

    async def _ask(self, engine: Engine, call: Call) -> bool:
        try:
            answer = engine(call)
            if inspect.isawaitable(answer):
                answer = await asyncio.wait_for(answer, _PATIENCE)
        except Exception:  # fail closed, whatever it is
            log.exception("the engine failed: denied", identity=call.peer.identity.name)
            return False
        return answer is True


def _method(scope: dict[str, Any]) -> str:
    return "GET" if scope["type"] == "websocket" else str(scope["method"])
