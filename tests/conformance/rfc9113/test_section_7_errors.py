"""RFC 9113 section 7: error codes, those that are defined and those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import GoAwayFrame, RstStreamFrame

from tests.conformance.rfc9113._reactions import GET, goes_on, malformed, stream_error
from tests.support.server import eventually
from tests.support.wire import DATA, NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, data, raw, reset

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Wire

DEFINED = range(14)


@pytest.mark.parametrize("code", [0, 7, 8, 13, 14, 0xFF, 0xFFFF_FFFF])
def test_7_any_code_resets_a_stream(server: Server, wire: Wire, tag: str, code: int) -> None:
    """'Unknown or unsupported error codes MUST NOT trigger any special behavior': a reset is a reset."""
    stream = wire.open(f"/hold?tag={tag}", "POST", end=False)
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send(reset(stream, code))
    eventually(lambda: server.stats(tag)["ended"] == {"http.disconnect": 1})
    goes_on(wire)


@pytest.mark.parametrize("code", [1, 11, 14, 0xFFFF_FFFF])
def test_7_any_code_of_a_goaway(wire: Wire, code: int) -> None:
    """'Unknown or unsupported error codes MUST NOT trigger any special behavior': what is in flight is answered."""
    stream = wire.open("/stream")
    wire.send(GoAwayFrame(0, 0, code))
    assert wire.reply(stream).body == b"0;1;2;3;4;"
    assert wire.ending() == "close_notify"
    assert wire.goaways[-1] == (stream, NO_ERROR)


def test_7_codes_of_the_server_are_defined_ones(wire: Wire) -> None:
    """'The following error codes are defined': the server's are among them, and the more specific one where there
    is.
    """
    closed = wire.open("/hold")
    wire.send(data(closed, b"x"))
    stream_error(wire, closed, STREAM_CLOSED)
    bad = wire.fields([*GET, ("connection", "close")])
    wire.send(bad)
    malformed(wire, bad.stream_id)
    wire.send_bytes(raw(DATA, 0, 0, b"x"))
    wire.ending()
    codes = [event.error_code for event in wire.events if isinstance(event, RstStreamFrame)]
    codes += [code for _, code in wire.goaways]
    assert set(codes) <= set(DEFINED)
    assert codes[0] == STREAM_CLOSED
    assert codes[-1] == PROTOCOL_ERROR
