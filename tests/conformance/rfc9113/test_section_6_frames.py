"""RFC 9113 section 6: each type of frame, with the right and the wrong stream, length, padding, flags and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.conformance.rfc9113._reactions import (
    GET,
    POST,
    block,
    connection_error,
    goes_on,
    stream_error,
)
from tests.support.server import eventually
from tests.support.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    data,
    raw,
    window,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Wire

LAST = 2**31 - 1
CANCEL = b"\0\0\0\x08"
ONE = b"\0\0\0\1"
RESERVED = 0x8000_0000

_PING = b"between!"


def round_trip(wire: Wire) -> None:
    """The server has handled all that was sent, and has had time to say something about it."""
    wire.send(PingFrame(0, _PING))
    wire.until(lambda: any(isinstance(event, PingFrame) and event.opaque_data == _PING for event in wire.events))
    wire.events[:] = [event for event in wire.events if not isinstance(event, PingFrame)]


def acknowledged(wire: Wire) -> int:
    return sum(isinstance(event, SettingsFrame) and "ACK" in event.flags for event in wire.events)


# 6.1, DATA.


def test_6_1_data_on_stream_0(wire: Wire) -> None:
    """'If a DATA frame is received whose Stream Identifier field is 0x00, [...] a connection error PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(DATA, 0, 0, b"x"))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_6_1_padding(wire: Wire, pad: int) -> None:
    """'Padding octets [...] contain no application semantic value': the application sees the data alone."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(DATA, PADDED | END_STREAM, stream, bytes([pad]) + b"body" + bytes(pad)))
    assert wire.reply(stream).body.endswith(b" 4")


def test_6_1_nothing_but_padding(wire: Wire) -> None:
    """'The amount of data is the remainder of the frame payload': none, if the padding takes all of it."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(DATA, PADDED | END_STREAM, stream, bytes([7]) + bytes(7)))
    assert wire.reply(stream).body.endswith(b" 0")


@pytest.mark.parametrize("pad", [5, 6, 255])
def test_6_1_padding_too_long(wire: Wire, pad: int) -> None:
    """'If the length of the padding is the length of the frame payload or greater, [...] a connection error of type
    PROTOCOL_ERROR.'"""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(DATA, PADDED, stream, bytes([pad]) + b"body"))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_1_padding_is_flow_controlled(wire: Wire) -> None:
    """'The entire DATA frame payload is included in flow control, including the Pad Length and Padding fields':
    what they take from the windows comes back.
    """
    stream = wire.open("/echo", "POST", end=False)
    wire.say(stream, bytes(8_000), end=True, pad=255, size=1)  # 2 MB of padding
    assert wire.reply(stream).body.endswith(b" 8000")


def test_6_1_empty_data(wire: Wire) -> None:
    """DATA without octets is DATA; with END_STREAM it ends the request."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send(data(stream), data(stream, b"x"), data(stream), data(stream, end=True))
    assert wire.reply(stream).body.endswith(b" 1")


def test_6_1_data_on_a_half_closed_stream(wire: Wire) -> None:
    """'If a DATA frame is received whose stream is not in the "open" or "half-closed (local)" state, the recipient MUST
    respond with a stream error of type STREAM_CLOSED.'"""
    stream = wire.open("/hold")
    wire.send(data(stream, b"", end=True))
    stream_error(wire, stream, STREAM_CLOSED)


# 6.2, HEADERS.


def test_6_2_headers_on_stream_0(wire: Wire) -> None:
    """'If a HEADERS frame is received whose Stream Identifier field is 0x00, [...] a connection error
    PROTOCOL_ERROR.'
    """
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM, 0, block(wire, GET)))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("pad", [0, 1, 255])
@pytest.mark.parametrize("priority", [b"", b"\x80\0\0\0\x10"], ids=["plain", "with priority"])
def test_6_2_padding(wire: Wire, priority: bytes, pad: int) -> None:
    """HEADERS may be padded, with a priority and without."""
    head = wire.fields(GET)
    flags = END_HEADERS | END_STREAM | PADDED | (WITH_PRIORITY if priority else 0)
    wire.send_bytes(raw(HEADERS, flags, head.stream_id, bytes([pad]) + priority + head.data + bytes(pad)))
    assert wire.reply(head.stream_id).status == 200


@pytest.mark.parametrize("more", [1, 2])
def test_6_2_padding_too_long(wire: Wire, more: int) -> None:
    """'If the length of the padding is the length of the frame payload or greater, [...] a connection error of type
    PROTOCOL_ERROR.'"""
    fragment = block(wire, GET)
    pad = len(fragment) + more
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([pad]) + fragment))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_2_nothing_but_padding(wire: Wire) -> None:
    """Padding that is shorter than the payload is in order, if by the octet of its length alone: the fragment is
    empty.
    """
    head = wire.fields(GET)
    wire.send_bytes(
        raw(HEADERS, END_STREAM | PADDED, head.stream_id, bytes([7]) + bytes(7))
        + raw(CONTINUATION, END_HEADERS, head.stream_id, head.data)
    )
    assert wire.reply(head.stream_id).status == 200


def test_6_2_end_stream_before_continuation(wire: Wire) -> None:
    """'A HEADERS frame with the END_STREAM flag set can be followed by CONTINUATION frames on the same stream.'"""
    head = wire.fields([*GET[:3], (":path", "/method")])
    wire.send_bytes(raw(HEADERS, END_STREAM, head.stream_id, head.data[:5]))
    wire.send_bytes(raw(CONTINUATION, END_HEADERS, head.stream_id, head.data[5:]))
    assert wire.reply(head.stream_id).body == b"GET"


@pytest.mark.parametrize("kind", [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE])
def test_6_2_headers_without_its_continuation(wire: Wire, kind: int) -> None:
    """'A HEADERS frame without the END_HEADERS flag set MUST be followed by a CONTINUATION frame for the same stream.
    [...] any other type of frame [is] a connection error of type PROTOCOL_ERROR.'"""
    payloads = {
        DATA: b"x",
        HEADERS: b"\x82",
        PRIORITY: b"\0\0\0\0\7",
        RST_STREAM: CANCEL,
        PING: bytes(8),
        GOAWAY: bytes(8),
        WINDOW_UPDATE: ONE,
    }
    wire.send_bytes(raw(HEADERS, 0, 1, block(wire, POST)))
    wire.send_bytes(raw(kind, 0, 0 if kind in (SETTINGS, PING, GOAWAY) else 1, payloads.get(kind, b"")))
    connection_error(wire, PROTOCOL_ERROR)


# 6.3, PRIORITY.


def test_6_3_priority_on_stream_0(wire: Wire) -> None:
    """'If a PRIORITY frame is received with a stream identifier of 0x00, [...] a connection error PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(PRIORITY, 0, 0, b"\0\0\0\0\7"))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 4, 6])
def test_6_3_priority_length(wire: Wire, size: int) -> None:
    """'A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error of type
    FRAME_SIZE_ERROR.'
    """
    stream = wire.open("/hold", "POST", end=False)
    wire.send_bytes(raw(PRIORITY, 0, stream, bytes(size)))
    stream_error(wire, stream, FRAME_SIZE_ERROR)


# 6.4, RST_STREAM.


def test_6_4_rst_stream_on_stream_0(wire: Wire) -> None:
    """'If a RST_STREAM frame is received with a stream identifier of 0x00, [...] a connection error PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(RST_STREAM, 0, 0, CANCEL))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_4_rst_stream_on_an_idle_stream(wire: Wire) -> None:
    """'If a RST_STREAM frame identifying an idle stream is received, [...] a connection error of type
    PROTOCOL_ERROR.'
    """
    wire.send_bytes(raw(RST_STREAM, 0, 1, CANCEL))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_6_4_rst_stream_length(wire: Wire, size: int) -> None:
    """'A RST_STREAM frame with a length other than 4 octets MUST be treated as a connection error FRAME_SIZE_ERROR.'"""
    stream = wire.open("/hold")
    wire.send_bytes(raw(RST_STREAM, 0, stream, bytes(size)))
    connection_error(wire, FRAME_SIZE_ERROR)


def test_6_4_rst_stream_closes_the_stream(server: Server, wire: Wire, tag: str) -> None:
    """'The RST_STREAM frame fully terminates the referenced stream': the application is told, others are answered."""
    stream = wire.open(f"/hold?tag={tag}", "POST", end=False)
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send_bytes(raw(RST_STREAM, 0, stream, CANCEL))
    eventually(lambda: server.stats(tag)["active"] == 0)
    goes_on(wire)


# 6.5, SETTINGS.


def test_6_5_settings_on_a_stream(wire: Wire) -> None:
    """'If [the] Stream Identifier field is anything other than 0x00, [...] a connection error of type
    PROTOCOL_ERROR.'
    """
    wire.send_bytes(raw(SETTINGS, 0, wire.open("/hold"), bytes(6)))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_5_acknowledgement_with_a_payload(wire: Wire) -> None:
    """'[...] the ACK flag set and a length field value other than 0 MUST be treated as a connection error of type
    FRAME_SIZE_ERROR.'"""
    wire.send_bytes(raw(SETTINGS, ACK, 0, b"\0\3\0\0\0\1"))
    connection_error(wire, FRAME_SIZE_ERROR)


@pytest.mark.parametrize("size", [1, 5, 7, 13])
def test_6_5_settings_length(wire: Wire, size: int) -> None:
    """'A SETTINGS frame with a length other than a multiple of 6 octets MUST be treated as a connection error of type
    FRAME_SIZE_ERROR.'"""
    wire.send_bytes(raw(SETTINGS, 0, 0, bytes(size)))
    connection_error(wire, FRAME_SIZE_ERROR)


def setting(identifier: int, value: int) -> bytes:
    return identifier.to_bytes(2, "big") + value.to_bytes(4, "big")


HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, WINDOW, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)


@pytest.mark.parametrize(
    ("identifier", "value", "error"),
    [
        (ENABLE_PUSH, 2, PROTOCOL_ERROR),
        (ENABLE_PUSH, 2**32 - 1, PROTOCOL_ERROR),
        (WINDOW, 2**31, FLOW_CONTROL_ERROR),
        (WINDOW, 2**32 - 1, FLOW_CONTROL_ERROR),
        (MAX_FRAME_SIZE, 0, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 2**14 - 1, PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 2**24, PROTOCOL_ERROR),
    ],
)
def test_6_5_2_value_out_of_range(wire: Wire, identifier: int, value: int, error: int) -> None:
    """'Any value other than 0 or 1', 'values above the maximum flow-control window size of 2^31-1', 'values outside
    this range' of frame sizes: connection errors of type PROTOCOL_ERROR, FLOW_CONTROL_ERROR and PROTOCOL_ERROR.
    """
    wire.send_bytes(raw(SETTINGS, 0, 0, setting(identifier, value)))
    connection_error(wire, error)


@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        (HEADER_TABLE_SIZE, 0),
        (HEADER_TABLE_SIZE, 2**32 - 1),
        (ENABLE_PUSH, 0),
        (ENABLE_PUSH, 1),
        (MAX_CONCURRENT_STREAMS, 0),
        (MAX_CONCURRENT_STREAMS, 2**32 - 1),
        (WINDOW, 2**31 - 1),
        (MAX_FRAME_SIZE, 2**14),
        (MAX_FRAME_SIZE, 2**24 - 1),
        (MAX_HEADER_LIST_SIZE, 0),
        (MAX_HEADER_LIST_SIZE, 2**32 - 1),
        (0, 2**32 - 1),
        (0xFFFF, 1),
    ],
)
def test_6_5_2_value_at_the_end_of_its_range(wire: Wire, identifier: int, value: int) -> None:
    """All values inside their range are in order; an 'unknown or unsupported identifier MUST [be] ignore[d]'."""
    wire.send_bytes(raw(SETTINGS, 0, 0, setting(identifier, value)))
    goes_on(wire)


def test_6_5_2_server_s_settings(wire: Wire) -> None:
    """'A server MUST NOT explicitly set [ENABLE_PUSH] to 1'; windows and frame sizes are inside their ranges; 'it is
    recommended that [MAX_CONCURRENT_STREAMS] be no smaller than 100'."""
    wire.until(lambda: wire.initial_window > 0)
    settings = next(e.settings for e in wire.events if isinstance(e, SettingsFrame) and "ACK" not in e.flags)
    assert settings.get(ENABLE_PUSH, 0) == 0
    assert 0 <= settings.get(WINDOW, 65_535) < 2**31
    assert 2**14 <= settings.get(MAX_FRAME_SIZE, 2**14) < 2**24
    assert settings[MAX_CONCURRENT_STREAMS] >= 100


def test_6_5_2_client_s_frame_size_is_kept_to(wire: Wire) -> None:
    """'The size of the largest frame payload that the sender is willing to receive': 16,384 by itself, more if it
    says.
    """
    stream = wire.open("/down?n=200000")
    sizes = []
    while not wire.replies[stream].over:
        frame = wire.frame()
        if isinstance(frame, DataFrame):
            sizes.append(frame.body_len)
    assert max(sizes) <= 16_384
    assert sum(sizes) == 200_000


def test_6_5_2_last_value_counts(server: Server) -> None:
    """'Each parameter in a SETTINGS frame replaces any existing value for that parameter'; 'processed in the order in
    which they appear'."""
    with server.h2() as wire:
        wire.send_bytes(raw(SETTINGS, 0, 0, setting(WINDOW, 100) + setting(WINDOW, 1)))
        stream = wire.open("/down?n=10")
        wire.until(lambda: len(wire.replies[stream].body) >= 1)
        round_trip(wire)
        assert len(wire.replies[stream].body) == 1


def test_6_5_3_each_settings_frame_is_acknowledged(wire: Wire) -> None:
    """'Once all values have been processed, the recipient MUST immediately emit a SETTINGS frame with the ACK flag
    set.'
    """
    wire.until(lambda: acknowledged(wire) == 1)
    wire.send_bytes(raw(SETTINGS, 0, 0) + raw(SETTINGS, 0, 0, setting(ENABLE_PUSH, 0)) + raw(SETTINGS, 0, 0))
    wire.until(lambda: acknowledged(wire) == 4)
    round_trip(wire)
    assert acknowledged(wire) == 4


def test_6_5_3_acknowledgement_is_not_acknowledged(wire: Wire) -> None:
    """'The recipient of a SETTINGS frame in which the ACK flag is not set' acknowledges: no other."""
    wire.until(lambda: wire.initial_window > 0)  # and is acknowledged
    round_trip(wire)
    assert acknowledged(wire) == 1


def test_6_5_3_setting_is_applied_when_acknowledged(server: Server) -> None:
    """'The sender of the altered settings can rely on the values from the oldest unacknowledged SETTINGS frame
    having been applied.'
    """
    with server.h2(stream_window=10) as wire:
        stream = wire.open("/down?n=100")
        wire.until(lambda: len(wire.replies[stream].body) == 10)
        wire.send(SettingsFrame(0, {INITIAL_WINDOW_SIZE: 30}))
        wire.until(lambda: len(wire.replies[stream].body) == 30)
        assert acknowledged(wire) == 2


# 6.6, PUSH_PROMISE.


@pytest.mark.parametrize("stream", [0, 1, 99], ids=["stream 0", "open stream", "idle stream"])
def test_6_6_push_promise_from_a_client(wire: Wire, stream: int) -> None:
    """'[...] a PUSH_PROMISE on a stream that is neither "open" nor "half-closed (local)" [...]'; 8.4: 'A client cannot
    push. Thus, servers MUST treat the receipt of a PUSH_PROMISE frame as a connection error of type PROTOCOL_ERROR.'"""
    wire.open("/hold", "POST", end=False)
    wire.send_bytes(raw(PUSH_PROMISE, END_HEADERS, stream, b"\0\0\0\2" + block(wire, GET)))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_6_server_does_not_push(wire: Wire) -> None:
    """'PUSH_PROMISE MUST NOT be sent if the SETTINGS_ENABLE_PUSH setting of the peer endpoint is set to 0.'"""
    wire.send_bytes(raw(SETTINGS, 0, 0, setting(ENABLE_PUSH, 0)))
    assert wire.get("/hints").status == 200
    assert PUSH_PROMISE not in {event.type for event in wire.events}


# 6.7, PING.


def test_6_7_ping_is_answered(wire: Wire) -> None:
    """'[...] MUST send a PING frame with the ACK flag set in response, with an identical frame payload.'"""
    for payload in (bytes(8), b"\xff" * 8, b"12345678"):
        wire.send(PingFrame(0, payload))
        wire.until(lambda payload=payload: isinstance(wire.events[-1:][0], PingFrame) if wire.events else False)
        assert wire.events[-1].opaque_data == payload
        assert "ACK" in wire.events[-1].flags
        wire.events.clear()


def test_6_7_acknowledgement_is_not_answered(wire: Wire) -> None:
    """'An endpoint MUST NOT respond to PING frames containing this flag.'"""
    wire.send_bytes(raw(PING, ACK, 0, b"unasked!"))
    goes_on(wire)
    assert not [event for event in wire.events if isinstance(event, PingFrame)]


def test_6_7_ping_on_a_stream(wire: Wire) -> None:
    """'[...] a Stream Identifier field value other than 0x00 [...] a connection error of type PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(PING, 0, wire.open("/hold"), bytes(8)))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("flags", [0, ACK], ids=["PING", "ACK"])
@pytest.mark.parametrize("size", [0, 7, 9])
def test_6_7_ping_length(wire: Wire, size: int, flags: int) -> None:
    """'Receipt of a PING frame with a length field value other than 8 MUST be treated as a connection error of type
    FRAME_SIZE_ERROR.'"""
    wire.send_bytes(raw(PING, flags, 0, bytes(size)))
    connection_error(wire, FRAME_SIZE_ERROR)


# 6.8, GOAWAY.


def test_6_8_goaway_on_a_stream(wire: Wire) -> None:
    """'An endpoint MUST treat a GOAWAY frame with a stream identifier other than 0x00 as a connection error of type
    PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(GOAWAY, 0, wire.open("/hold"), bytes(8)))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 4, 7])
def test_6_8_goaway_too_short(wire: Wire, size: int) -> None:
    """A frame 'too small to contain mandatory frame data' on stream 0 is a connection error FRAME_SIZE_ERROR (4.2)."""
    wire.send_bytes(raw(GOAWAY, 0, 0, bytes(size)))
    connection_error(wire, FRAME_SIZE_ERROR)


@pytest.mark.parametrize("debug", [b"", b"thank you and good bye"], ids=["bare", "with debug data"])
@pytest.mark.parametrize("code", [NO_ERROR, 2, 0xFFFF_FFFF])
def test_6_8_streams_in_flight_are_answered(wire: Wire, tag: str, code: int, debug: bytes) -> None:
    """'Activity on streams numbered lower than or equal to the last stream identifier might still complete
    successfully': who says GOAWAY wants its answers; debug data 'carries no semantic value', an unknown code
    neither (7).
    """
    answer = wire.open(f"/gate?tag={tag}")
    upload = wire.open("/echo", "POST", end=False)
    wire.send(GoAwayFrame(0, 0, code, debug))
    wire.say(upload, bytes(50_000), end=True)
    assert wire.reply(upload).body.endswith(b" 50000")
    wire.send(wire.head(f"/open?tag={tag}"))  # ours is a GOAWAY for the streams of the server: there are none
    assert wire.reply(answer).body == b"gate"
    assert wire.ending() == "close_notify"


def test_6_8_who_says_goaway_twice(wire: Wire) -> None:
    """'An endpoint MAY send multiple GOAWAY frames.'"""
    stream = wire.open("/echo", "POST", end=False)
    wire.send(GoAwayFrame(0, LAST - 1), GoAwayFrame(0, 0))
    wire.say(stream, b"body", end=True)
    assert wire.reply(stream).status == 200


def test_6_8_server_says_goaway_before_it_closes(wire: Wire) -> None:
    """'Endpoints SHOULD always send a GOAWAY frame before closing a connection', with the last stream it has seen."""
    goes_on(wire)
    wire.send(GoAwayFrame(0))
    assert wire.ending() == "close_notify"
    assert wire.goaways == [(1, NO_ERROR)]


# 6.9, WINDOW_UPDATE.


def test_6_9_increment_of_0_on_a_stream(wire: Wire) -> None:
    """'[...] a flow-control window increment of 0 as a stream error of type PROTOCOL_ERROR.'"""
    stream = wire.open("/hold", "POST", end=False)
    wire.send_bytes(raw(WINDOW_UPDATE, 0, stream, bytes(4)))
    stream_error(wire, stream, PROTOCOL_ERROR)


def test_6_9_increment_of_0_on_the_connection(wire: Wire) -> None:
    """'Errors on the connection flow-control window MUST be treated as a connection error.'"""
    wire.send_bytes(raw(WINDOW_UPDATE, 0, 0, bytes(4)))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("on", [0, 1], ids=["connection", "stream"])
@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_6_9_window_update_length(wire: Wire, size: int, on: int) -> None:
    """'A WINDOW_UPDATE frame with a length other than 4 octets MUST be treated as a connection error
    FRAME_SIZE_ERROR.'
    """
    wire.open("/hold")
    wire.send_bytes(raw(WINDOW_UPDATE, 0, on, b"\1" * size))
    connection_error(wire, FRAME_SIZE_ERROR)


@pytest.mark.parametrize("on", [0, 1], ids=["connection", "stream"])
def test_6_9_reserved_bit(server: Server, on: int) -> None:
    """The payload is 'one reserved bit plus an unsigned 31-bit integer': the bit says nothing."""
    with server.h2(stream_window=100, connection_window=65_535) as wire:
        stream = wire.open("/down?n=200")
        wire.send_bytes(raw(WINDOW_UPDATE, 0, on, (RESERVED | 100).to_bytes(4, "big")))
        if on == 0:
            wire.send(window(stream, 100))
        assert len(wire.reply(stream).body) == 200


def test_6_9_window_update_behind_the_end(wire: Wire) -> None:
    """'WINDOW_UPDATE can be sent by a peer that has sent a frame with the END_STREAM flag set. [...] A receiver
    MUST NOT treat this as an error.'
    """
    stream = wire.open("/stream")
    wire.send(window(stream, 1_000))
    assert wire.reply(stream).whole
    wire.send(window(stream, 1_000))
    goes_on(wire)


def test_6_9_window_update_behind_the_end_beyond_the_largest(wire: Wire) -> None:
    """'A receiver MUST NOT treat this as an error': on a closed stream there is no window to exceed."""
    stream = wire.open("/")
    assert wire.reply(stream).whole
    wire.send(window(stream, LAST), window(stream, LAST))
    goes_on(wire)


def test_6_9_1_stream_window_beyond_the_largest(wire: Wire) -> None:
    """'If a sender receives a WINDOW_UPDATE that causes a flow-control window to exceed this maximum [...]: for
    streams, the sender sends a RST_STREAM with an error code of FLOW_CONTROL_ERROR.'
    """
    stream = wire.open("/hold")
    wire.send(window(stream, LAST))
    stream_error(wire, stream, FLOW_CONTROL_ERROR)


def test_6_9_1_connection_window_beyond_the_largest(wire: Wire) -> None:
    """'[...] for the connection, a GOAWAY frame with an error code of FLOW_CONTROL_ERROR is sent.'"""
    wire.send(window(0, LAST))
    connection_error(wire, FLOW_CONTROL_ERROR)


def test_6_9_1_largest_window(server: Server) -> None:
    """A window of 2^31-1 octets is the largest, and in order."""
    with server.h2(stream_window=65_535) as wire:  # and the connection's is at its largest
        stream = wire.open("/down?n=100000")
        wire.send(window(stream, LAST - 65_535))
        assert len(wire.reply(stream).body) == 100_000


def test_6_9_1_octet_by_octet(server: Server) -> None:
    """'The sender MUST NOT send a flow-controlled frame with a length that exceeds the space available.'"""
    with server.h2(stream_window=1) as wire:
        stream = wire.open("/down?n=5")
        for size in range(1, 5):
            wire.until(lambda size=size: len(wire.replies[stream].body) >= size)
            round_trip(wire)
            assert len(wire.replies[stream].body) == size
            wire.send(window(stream, 1))
        assert wire.reply(stream).whole


def test_6_9_1_empty_frame_needs_no_window(server: Server) -> None:
    """'Frames with zero length with the END_STREAM flag set MAY be sent if there is no available space in either
    flow-control window': also by the client, which has used up what it was given."""
    with server.h2() as wire:
        stream = wire.open("/sleep?s=0.3", "POST", end=False)
        wire.until(lambda: wire.initial_window > 0)
        wire.say(stream, bytes(wire.initial_window))
        wire.send(data(stream, end=True))
        assert wire.reply(stream).body == b"first-last"


def test_6_9_2_larger_initial_window(server: Server) -> None:
    """'A receiver MUST adjust the size of all stream flow-control windows that it maintains by the difference
    between the new value and the old value.'
    """
    with server.h2(stream_window=10) as wire:
        streams = [wire.open("/down?n=100") for _ in range(3)]
        wire.until(lambda: all(len(wire.replies[stream].body) == 10 for stream in streams))
        wire.send(SettingsFrame(0, {INITIAL_WINDOW_SIZE: 40}))
        wire.until(lambda: all(len(wire.replies[stream].body) >= 40 for stream in streams))
        round_trip(wire)
        assert [len(wire.replies[stream].body) for stream in streams] == [40, 40, 40]


def test_6_9_2_negative_window(server: Server) -> None:
    """'A sender MUST track the negative flow-control window and MUST NOT send new flow-controlled frames until it
    receives WINDOW_UPDATE frames that cause the flow-control window to become positive.'
    """
    with server.h2(stream_window=1_000) as wire:
        stream = wire.open("/down?n=5000")
        wire.until(lambda: len(wire.replies[stream].body) == 1_000)
        wire.send(SettingsFrame(0, {INITIAL_WINDOW_SIZE: 200}), window(stream, 800))
        round_trip(wire)
        assert len(wire.replies[stream].body) == 1_000
        wire.send(window(stream, 1))
        wire.until(lambda: len(wire.replies[stream].body) > 1_000)
        round_trip(wire)
        assert len(wire.replies[stream].body) == 1_001
        wire.send(window(stream, 5_000))
        assert len(wire.reply(stream).body) == 5_000


def test_6_9_2_settings_do_not_change_the_connection_s_window(server: Server) -> None:
    """'A SETTINGS frame cannot alter the connection flow-control window.'"""
    with server.h2(stream_window=LAST, connection_window=65_535) as wire:
        stream = wire.open("/down?n=100000")
        wire.until(lambda: len(wire.replies[stream].body) >= 65_535)
        round_trip(wire)
        assert len(wire.replies[stream].body) == 65_535


def test_6_9_2_initial_window_that_overflows_a_stream_s(wire: Wire) -> None:
    """'An endpoint MUST treat a change to SETTINGS_INITIAL_WINDOW_SIZE that causes any flow-control window to
    exceed the maximum size as a connection error of type FLOW_CONTROL_ERROR.'
    """
    stream = wire.open("/hold")
    wire.send(window(stream, LAST - 2**20))  # its window is at the maximum
    wire.send(SettingsFrame(0, {INITIAL_WINDOW_SIZE: 2**20 + 1}))
    connection_error(wire, FLOW_CONTROL_ERROR)


def test_6_9_3_smaller_initial_window_while_data_is_on_its_way(wire: Wire) -> None:
    """Windows are credit: what the server's SETTINGS gave is the client's, however many streams use it."""
    wire.until(lambda: wire.initial_window > 0)
    size = wire.initial_window
    streams = [wire.open("/sleep?s=0.3", "POST", end=False) for _ in range(5)]
    for stream in streams:
        wire.say(stream, bytes(size), end=True)
    assert {wire.reply(stream).status for stream in streams} == {200}


# 6.10, CONTINUATION.


def test_6_10_continuation_on_stream_0(wire: Wire) -> None:
    """'If a CONTINUATION frame is received with a Stream Identifier field of 0x00, [...] PROTOCOL_ERROR.'"""
    wire.send_bytes(raw(HEADERS, END_STREAM, 1, block(wire, GET)) + raw(CONTINUATION, END_HEADERS, 0))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("before", ["HEADERS", "CONTINUATION", "DATA", "response"])
def test_6_10_continuation_without_its_headers(wire: Wire, before: str) -> None:
    """'A CONTINUATION frame MUST be preceded by a HEADERS, PUSH_PROMISE or CONTINUATION frame without the
    END_HEADERS flag set. [...] a connection error of type PROTOCOL_ERROR.'
    """
    if before == "HEADERS":
        stream = wire.open("/hold", "POST", end=False)
    elif before == "CONTINUATION":
        head = wire.fields(POST, end=False)
        stream = head.stream_id
        wire.send_bytes(raw(HEADERS, 0, stream, head.data) + raw(CONTINUATION, END_HEADERS, stream))
    elif before == "DATA":
        stream = wire.open("/hold", "POST", end=False)
        wire.send(data(stream, b"x"))
    else:
        stream = wire.open("/")
        assert wire.reply(stream).status == 200
    wire.send_bytes(raw(CONTINUATION, END_HEADERS, stream, b"\x82"))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("kind", [DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE])
def test_6_10_continuation_without_its_next(wire: Wire, kind: int) -> None:
    """'If the END_HEADERS flag is not set, this frame MUST be followed by another CONTINUATION frame. [...] any
    other type of frame or a frame on a different stream [is] a connection error of type PROTOCOL_ERROR.'
    """
    payloads = {DATA: b"x", HEADERS: b"\x82", PING: bytes(8), WINDOW_UPDATE: ONE}
    encoded = block(wire, POST)
    wire.send_bytes(raw(HEADERS, 0, 1, encoded[:2]) + raw(CONTINUATION, 0, 1, encoded[2:]))
    wire.send_bytes(raw(kind, 0, 0 if kind in (SETTINGS, PING) else 1, payloads.get(kind, b"")))
    connection_error(wire, PROTOCOL_ERROR)


def test_6_10_continuation_of_trailers(wire: Wire) -> None:
    """'Any number of CONTINUATION frames can be sent': trailers, too, may take several."""
    stream = wire.open("/echo", "POST", end=False)
    wire.say(stream, b"body")
    trailers = block(wire, [("x-checksum", "1"), ("x-more", "2")])
    wire.send_bytes(raw(HEADERS, END_STREAM, stream, trailers[:3]))
    for at in range(3, len(trailers)):
        wire.send_bytes(raw(CONTINUATION, 0, stream, trailers[at : at + 1]))
    wire.send_bytes(raw(CONTINUATION, END_HEADERS, stream))
    assert wire.reply(stream).body.endswith(b" 4")


def test_6_10_server_s_field_blocks_are_contiguous(wire: Wire) -> None:
    """What the server sends keeps the same rule: each of its field blocks ends in the frame that begins it."""
    streams = [wire.open("/distinct") for _ in range(20)]
    for stream in streams:
        assert wire.reply(stream).status == 200
    heads = [event for event in wire.events if isinstance(event, HeadersFrame)]
    assert {event.stream_id for event in heads} == set(streams)
    assert all("END_HEADERS" in event.flags for event in heads)
    assert not [event for event in wire.events if isinstance(event, RstStreamFrame)]
