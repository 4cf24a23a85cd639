"""The three ways in which RFC 9113 has an endpoint react: end the connection, end the stream, go on as if nothing
were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.wire import PROTOCOL_ERROR, STREAM_CLOSED, Ended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.wire import Reply, Wire

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
POST = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/echo")]


def goes_on(wire: Wire) -> None:
    """A sane request on the same connection is answered."""
    try:
        assert wire.get().status == 200
    except Ended as end:
        pytest.fail(f"the connection ended ({end}) with GOAWAY {wire.goaways}")


def connection_error(wire: Wire, *codes: int) -> None:
    """GOAWAY with one of these codes; then the connection is closed (section 5.4.1)."""
    try:
        ending = wire.ending()
    except TimeoutError:
        resets = {number: reply.reset for number, reply in wire.replies.items() if reply.reset is not None}
        pytest.fail(f"the connection goes on; GOAWAY: {wire.goaways}, RST_STREAM: {resets}")
    assert wire.goaways, f"no GOAWAY; the connection ended with {ending}"
    assert wire.goaways[-1][1] in codes, f"GOAWAY {wire.goaways[-1][1]}, expected {codes}"
    assert ending == "close_notify"


def stream_error(wire: Wire, stream: int, *codes: int) -> Reply:
    """RST_STREAM with one of these codes; the connection goes on (section 5.4.2)."""
    try:
        reply = wire.reply(stream)
    except Ended as end:
        pytest.fail(f"the connection ended ({end}) with GOAWAY {wire.goaways}")
    except TimeoutError:
        pytest.fail("nothing became of the stream")
    assert reply.reset in codes, f"RST_STREAM {reply.reset}, status {reply.status}; expected RST_STREAM {codes}"
    goes_on(wire)
    return reply


def either_error(wire: Wire, stream: int, *codes: int) -> None:
    """A stream error or a connection error with one of these codes, where the rule leaves the choice."""
    try:
        reply = wire.reply(stream)
    except Ended as end:
        assert wire.goaways, f"no GOAWAY; the connection ended with {end}"
        assert wire.goaways[-1][1] in codes, f"GOAWAY {wire.goaways[-1][1]}, expected {codes}"
        return
    assert reply.reset in codes, f"RST_STREAM {reply.reset}, expected {codes}"
    goes_on(wire)


def malformed(wire: Wire, stream: int) -> None:
    """A stream error PROTOCOL_ERROR; before it, or in its place, a 4xx response (section 8.1.1). Others go on."""
    try:
        reply = wire.reply(stream)
    except Ended as end:
        pytest.fail(f"the connection ended ({end}) with GOAWAY {wire.goaways}: not the stream alone")
    except TimeoutError:
        pytest.fail("nothing became of the malformed request")
    assert reply.status is None or 400 <= reply.status < 500, f"answered with {reply.status}"
    assert reply.reset == PROTOCOL_ERROR or (reply.whole and reply.status), f"RST_STREAM {reply.reset}"
    goes_on(wire)


def refused_as_closed(wire: Wire, stream: int) -> None:
    """What section 5.1 allows for a frame on a closed stream: it is discarded, or an error STREAM_CLOSED of either
    kind.

    A stream that was reset by the server is no such case: there, only the first two go.
    """
    wire.replies[stream].reset = None
    try:
        assert wire.get().status == 200
    except Ended as end:
        assert wire.goaways, f"no GOAWAY; the connection ended with {end}"
        assert wire.goaways[-1][1] == STREAM_CLOSED, f"GOAWAY {wire.goaways[-1][1]}, expected {STREAM_CLOSED}"
    assert wire.replies[stream].reset in (None, STREAM_CLOSED)


def block(wire: Wire, fields: Iterable[tuple[str, str]]) -> bytes:
    """The field block of these fields."""
    return wire.encoder.encode(list(fields))
