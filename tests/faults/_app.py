"""An ASGI application without a framework that does what it is told to: answer early, late, in halves, wrongly, never.

It counts what it sees under the `tag` of a request, so that tests can share one server: `/stats?tag=x` tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from services.peer import current_peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PIECE = 65_536

_PATTERN = hashlib.shake_256(b"handclasp").digest(PIECE)

seen: Counter[str] = Counter()
active: Counter[str] = Counter()
ended: defaultdict[str, Counter[str]] = defaultdict(Counter)
_gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes of a body in pieces of 64 KiB, no two of them alike."""
    for number, start in enumerate(range(0, size, PIECE)):
        yield (number.to_bytes(8, "big") + _PATTERN[8:])[: size - start]


def digest(size: int) -> str:
    """The SHA-256 of the body of `size` bytes."""
    found = hashlib.sha256()
    for piece in pieces(size):
        found.update(piece)
    return found.hexdigest()


class Call:
    """One request or WebSocket, with its query as `told`."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.told = dict(parse_qsl(scope["query_string"].decode()))
        self.tag = self.told.get("tag", "")

    async def start(self, status: int = 200, headers: Any = (), **more: Any) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers), **more})

    async def body(self, data: bytes = b"", *, more: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, data: bytes = b"ok", status: int = 200, headers: Any = ()) -> None:
        await self.start(status, [(b"content-length", b"%d" % len(data)), *headers])
        await self.body(data)

    async def ended(self) -> str:
        """Receive until nothing more comes; return the type of the last event."""
        while True:
            message = await self.receive()
            if message["type"].endswith("disconnect"):
                return str(message["type"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    call = Call(scope, receive, send)
    if scope["path"] == "/stats":
        await call.answer(
            json.dumps(
                {
                    "seen": seen[call.tag],
                    "active": active[call.tag],
                    "ended": ended[call.tag],
                    "tasks": len(asyncio.all_tasks()),
                }
            ).encode()
        )
        return
    route = _ROUTES.get(scope["path"])
    if route is None or scope["path"].startswith("/ws-") != (scope["type"] == "websocket"):
        await (ws_reject if scope["type"] == "websocket" else not_found)(call)
        return
    seen[call.tag] += 1
    active[call.tag] += 1
    try:
        await route(call)
    except OSError as error:
        ended[call.tag]["OSError"] += 1
        raise error from None
    except asyncio.CancelledError:
        ended[call.tag]["cancelled"] += 1
        raise
    finally:
        active[call.tag] -= 1


# Well-behaved.


async def ok(call: Call) -> None:
    await call.answer()


async def not_found(call: Call) -> None:
    await call.answer(b"no such path", 404)


async def method(call: Call) -> None:
    await call.answer(call.scope["method"].encode())


async def told(call: Call) -> None:
    """The request as it reached the application."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in call.scope["headers"]]
    await call.answer(
        json.dumps({"method": call.scope["method"], "path": call.scope["path"], "headers": fields} | _caller()).encode()
    )


def _caller() -> dict[str, str]:
    return {"identity": current_peer().identity.name}


async def echo(call: Call) -> None:
    """Read the body, `pause` seconds before each piece; answer with its hash and its size."""
    found, size, pause = hashlib.sha256(), 0, float(call.told.get("pause", "0"))
    while True:
        if pause:
            await asyncio.sleep(pause)
        message = await call.receive()
        if message["type"] == "http.disconnect":
            ended[call.tag]["http.disconnect"] += 1
            return
        found.update(message["body"])
        size += len(message["body"])
        if not message["more_body"]:
            await call.answer(f"{found.hexdigest()} {size}".encode())
            return


async def down(call: Call) -> None:
    """Send `n` bytes in pieces of 64 KiB, made as they are sent."""
    left = int(call.told["n"])
    await call.start(headers=[(b"content-length", b"%d" % left)])
    for piece in pieces(left):
        left -= len(piece)
        await call.body(piece, more=left > 0)


async def sleep(call: Call) -> None:
    """Answer after `s` seconds; half of it is said before."""
    await call.start(headers=[(b"content-length", b"10")])
    await call.body(b"first", more=True)
    await asyncio.sleep(float(call.told["s"]))
    await call.body(b"-last")


async def gate(call: Call) -> None:
    """Wait until `/open` with the same tag is asked for."""
    await _gates[call.tag].wait()
    await call.answer(b"gate")


async def open_gate(call: Call) -> None:
    _gates[call.tag].set()
    await call.answer()


async def early(call: Call) -> None:
    """Answer with `n` bytes without a look at the body."""
    await call.answer(b"".join(pieces(int(call.told.get("n", "5")))), int(call.told.get("status", "413")))


async def hold(call: Call) -> None:
    """Never answer; note how it ends."""
    ended[call.tag][await call.ended()] += 1


async def endless(call: Call) -> None:
    """Send for as long as it can be sent, and never look whether somebody listens."""
    await call.start()
    while True:
        await call.body(b"x" * PIECE, more=True)


async def trickle(call: Call) -> None:
    """Send a byte every 10 ms for ever."""
    await call.start()
    while True:
        await call.body(b"x", more=True)
        await asyncio.sleep(0.01)


async def distinct(call: Call) -> None:
    """Four response fields that were never sent before."""
    seen["distinct"] += 1
    await call.answer(
        headers=[
            (b"x-%d" % n, hashlib.sha256(b"%d %d" % (n, seen["distinct"])).digest().hex().encode()) for n in range(4)
        ]
    )


# Of a kind.


async def hints(call: Call) -> None:
    if "http.response.early_hint" in call.scope["extensions"]:
        await call.send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await call.answer()


async def status(call: Call) -> None:
    code = int(call.told["s"])
    await call.start(code, [(b"content-length", b"5")] if code not in (204, 304) else [])
    await call.body(b"hello")


async def trailers(call: Call) -> None:
    able = "http.response.trailers" in call.scope["extensions"]
    await call.start(trailers=able)
    await call.body(b"body")
    if not able:
        return
    await call.send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
    await call.send({"type": "http.response.trailers", "headers": [(b"x-end", b"2")]})


async def trailers_only(call: Call) -> None:
    """What gRPC calls so: the whole response is one HEADERS frame."""
    await call.start(headers=[(b"content-type", b"application/grpc"), (b"grpc-status", b"12")])
    await call.body()


async def stream(call: Call) -> None:
    await call.start()
    for number in range(5):
        await call.body(b"%d;" % number, more=True)
        await asyncio.sleep(0.01)
    await call.body()


async def two_senders(call: Call) -> None:
    """Two tasks send on one response."""

    async def sender(letter: bytes) -> None:
        for _ in range(20):
            await call.body(letter * 50_000, more=True)

    await call.start()
    await asyncio.gather(sender(b"a"), sender(b"b"))
    await call.body()


# Badly behaved.


async def raise_before(call: Call) -> None:
    raise RuntimeError("before the response")


async def raise_after_start(call: Call) -> None:
    await call.start()
    raise RuntimeError("after the start, before a byte of the body")


async def raise_middle(call: Call) -> None:
    await call.start(headers=[] if "chunked" in call.told else [(b"content-length", b"100")])
    await call.body(b"half", more=True)
    await asyncio.sleep(0.05)
    raise RuntimeError("in the middle of the response")


async def no_answer(call: Call) -> None:
    pass


async def half_answer(call: Call) -> None:
    await call.start()
    await call.body(b"half", more=True)


async def bad_field(call: Call) -> None:
    fields = {
        "value-crlf": (b"x-a", b"b\r\nset-cookie: c=d"),
        "value-lf": (b"x-a", b"b\nc"),
        "value-nul": (b"x-a", b"b\0c"),
        "name-crlf": (b"x-a: b\r\nx-c", b"d"),
        "name-blank": (b"x a", b"b"),
        "name-empty": (b"", b"b"),
        "pseudo": (b":status", b"201"),
    }
    await call.answer(headers=[fields[call.told["kind"]]])


async def upper_case(call: Call) -> None:
    await call.answer(headers=[(b"X-Upper", b" padded "), (b"Keep-Alive", b"timeout=5"), (b"Upgrade", b"h2c")])


async def wrong_type(call: Call) -> None:
    await call.start()
    await call.send({"type": "http.response.body", "body": "text"})


async def twice(call: Call) -> None:
    await call.answer()
    await call.answer(b"again")


async def out_of_order(call: Call) -> None:
    await call.body(b"a body before its head")


# WebSockets.


async def ws_echo(call: Call) -> None:
    """Send each message back, `s` seconds later; "bye" closes with 4001."""
    await call.receive()
    await call.send({"type": "websocket.accept"})
    while True:
        message = await call.receive()
        if message["type"] == "websocket.disconnect":
            ended[call.tag][f"websocket.disconnect {message['code']}"] += 1
            return
        if message.get("text") == "bye":
            await call.send({"type": "websocket.close", "code": 4001, "reason": "bye"})
            continue
        await asyncio.sleep(float(call.told.get("s", "0")))
        if message.get("text") is not None:
            await call.send({"type": "websocket.send", "text": message["text"]})
        else:
            await call.send({"type": "websocket.send", "bytes": message["bytes"]})


async def ws_told(call: Call) -> None:
    """The handshake as it reached the application."""
    await call.receive()
    await call.send({"type": "websocket.accept"})
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in call.scope["headers"]]
    await call.send({"type": "websocket.send", "text": json.dumps({"headers": fields} | _caller())})
    await call.receive()


async def ws_flood(call: Call) -> None:
    """Send 100 messages of 100 kB, then close."""
    await call.receive()
    await call.send({"type": "websocket.accept"})
    for _ in range(100):
        await call.send({"type": "websocket.send", "bytes": b"x" * 100_000})
    await call.send({"type": "websocket.close"})


async def ws_endless(call: Call) -> None:
    """Send for as long as it can be sent."""
    await call.receive()
    await call.send({"type": "websocket.accept"})
    while True:
        await call.send({"type": "websocket.send", "bytes": b"x" * 10_000})


async def ws_deaf(call: Call) -> None:
    """Accept, and receive nothing for a while."""
    await call.receive()
    await call.send({"type": "websocket.accept"})
    await asyncio.sleep(float(call.told["s"]))


async def ws_reject(call: Call) -> None:
    await call.receive()
    await call.send({"type": "websocket.close"})


async def ws_raise(call: Call) -> None:
    await call.receive()
    if "accept" in call.told:
        await call.send({"type": "websocket.accept"})
    raise RuntimeError("in a WebSocket")


_ROUTES: dict[str, Callable[[Call], Awaitable[None]]] = {
    "/": ok,
    "/open": open_gate,
    **{
        "/" + route.__name__.replace("_", "-"): route
        for route in (
            method, told, echo, down, sleep, gate, early, hold, endless, trickle, distinct, hints, status, trailers,
            trailers_only, stream, two_senders, raise_before, raise_after_start, raise_middle, no_answer, half_answer,
            bad_field, upper_case, wrong_type, twice, out_of_order, ws_echo, ws_flood, ws_endless, ws_deaf, ws_reject,
            ws_raise, ws_told,
        )
    },
}  # fmt: skip
