"""Callers on a host of their own: our asynchronous client, as anybody uses it, until told to stop; then figures.

  python -m tests.deploy._callers URL FOLDER... : the last folder's owner renews, the others ask to be greeted

It counts below the client's retry: an attempt that was lost is one that a replica had in its hands.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from clients.errors import ClientError
from clients.http2 import AsyncClient
from clients.http2.transport import HTTP2Transport

if TYPE_CHECKING:
    from clients.tls import ClientContext

TASKS = 4


@dataclass
class Figures:
    """What has come of it."""

    answered: Counter[str] = field(default_factory=Counter)
    """Requests, by the replica that answered."""
    failed: list[str] = field(default_factory=list)
    """Requests that the client gave up."""
    lost: list[tuple[float, str]] = field(default_factory=list)
    """Attempts that were lost: when, and the replica that the connection had led to."""
    in_hands: int = 0
    """The most attempts that were under way at once."""
    renewed: int = 0
    renewals_lost: int = 0
    slowest: float = 0.0


class _Counting(HTTP2Transport):
    def __init__(self, context: ClientContext, figures: Figures) -> None:
        super().__init__(context)
        self._figures, self._replica, self._under_way = figures, "", 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._under_way += 1
        self._figures.in_hands = max(self._figures.in_hands, self._under_way)
        try:
            response = await super().handle_async_request(request)
            await response.aread()
        except httpx.TransportError:
            if request.method == "GET":  # renewals are counted where they are made
                self._figures.lost.append((time.time(), self._replica))
            raise
        finally:
            self._under_way -= 1
        self._replica = response.headers.get("x-replica", self._replica)
        return response


class _Caller(AsyncClient):
    def __init__(self, url: str, folder: str, figures: Figures) -> None:
        self._figures = figures  # the base class makes a transport at once
        super().__init__(url, folder)

    def _transport(self, context: ClientContext) -> httpx.AsyncBaseTransport | None:
        return _Counting(context, self._figures)


async def _ask(client: AsyncClient, figures: Figures, stop: asyncio.Event) -> None:
    while not stop.is_set():
        since = time.monotonic()
        try:
            reply = await client.get("/")
        except ClientError as error:
            figures.failed.append(str(error))
            continue
        figures.slowest = max(figures.slowest, time.monotonic() - since)
        if reply.status == 200:
            figures.answered[reply.headers["x-replica"]] += 1
        else:
            figures.failed.append(f"status {reply.status}")


async def _renew(client: AsyncClient, figures: Figures, stop: asyncio.Event) -> None:
    """As a credential renews itself, though all the time: what did not work is tried again, a little later."""
    while not stop.is_set():
        try:
            await client.renew()
            figures.renewed += 1
        except ClientError as error:
            figures.renewals_lost += 1
            print(f"a renewal: {error}", file=sys.stderr)
        await asyncio.sleep(0.1)


async def main(url: str, *folders: str) -> dict[str, Any]:
    figures, stop = Figures(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clients = [_Caller(url, folder, figures) for folder in folders]
    work = [_ask(client, figures, stop) for client in clients[:-1] for _ in range(TASKS)]
    print("calling", flush=True)
    await asyncio.gather(*work, _renew(clients[-1], figures, stop))
    for client in clients:
        await client.close()
    return figures.__dict__


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))), flush=True)
