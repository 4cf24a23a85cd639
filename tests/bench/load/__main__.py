"""One load against one server. It says `ready`, and then does a step for each line on stdin.

A step of `h1`, `h2` and `handshakes` is one measured window, printed as one JSON line (`Outcome`). The connections of
`h1` and `h2` stay open in between. The steps of `idle`: two connections, each answered once (`warm`: what a process
allocates once is no connection's); the others (`open`: now the server is weighed); one more answer on each, so that
none of those counted was closed meanwhile (`Outcome`). A wrong answer ends the process, with an `Outcome` that says
which.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.load.handshakes import Handshakes
from tests.bench.load.http1 import HTTP1Conversation
from tests.bench.load.http2 import HTTP2Conversation
from tests.bench.load.idle import Idle
from tests.bench.load.outcome import Outcome, WrongAnswerError
from tests.bench.load.steady import Steady
from tests.bench.load.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Iterator

WARM_CONNECTIONS = 2


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("kind", choices=("h1", "h2", "handshakes", "idle"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--credential", type=Path, required=True)
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--expect", required=True, help="The body of every answer.")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--warm-up", type=float, default=0.3)
    parser.add_argument("--seconds", type=float, default=2.0)
    return parser.parse_args()


def _steps(given: argparse.Namespace) -> Iterator[str]:
    expected = given.expect.encode()
    http1 = given.kind in ("h1", "handshakes")
    context = client_context(given.credential, HTTP1Conversation.alpn if http1 else HTTP2Conversation.alpn)
    if given.kind == "idle":
        idle = Idle(context, given.port, expected)
        yield "ready"
        idle.open(WARM_CONNECTIONS)
        yield "warm"
        idle.open(given.connections)
        yield "open"
        yield idle.ask_again().to_json()
        idle.close()
        return
    load: Steady | Handshakes
    if given.kind == "handshakes":
        load = Handshakes(context, given.port, expected, given.connections)
    else:
        kind = partial(HTTP1Conversation, expected) if http1 else partial(HTTP2Conversation, expected, given.streams)
        load = Steady(context, given.port, [kind() for _ in range(given.connections)])
    yield "ready"
    while True:
        yield load.measure(given.server_pid, given.warm_up, given.seconds).to_json()


def main() -> None:
    try:
        for word in _steps(_parsed()):
            print(word, flush=True)
            if not sys.stdin.readline():
                return
    except (WrongAnswerError, OSError) as error:
        reason = str(error) or type(error).__name__
        print(Outcome(0, 1.0, 0.0, 0.0, failed=1, reason=reason).to_json(), flush=True)


if __name__ == "__main__":
    main()
