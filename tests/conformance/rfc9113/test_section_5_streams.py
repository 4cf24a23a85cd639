"""RFC 9113 section 5: the states of a stream, identifiers, concurrency, flow control, priority, errors, extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame

from tests.conformance.rfc9113._reactions import (
    GET,
    POST,
    block,
    connection_error,
    either_error,
    goes_on,
    malformed,
    refused_as_closed,
    stream_error,
)
from tests.support.server import eventually
from tests.support.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    data,
    raw,
    reset,
    window,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Wire

LAST = 2**31 - 1
CANCEL = b"\0\0\0\x08"
ONE = b"\0\0\0\1"


# 5.1, idle.


@pytest.mark.parametrize(
    "frame",
    [
        raw(DATA, END_STREAM, 99, b"x"),
        raw(RST_STREAM, 0, 99, CANCEL),
        raw(WINDOW_UPDATE, 0, 99, ONE),
        raw(PUSH_PROMISE, END_HEADERS, 99, b"\0\0\0\2\x82"),
        raw(CONTINUATION, END_HEADERS, 99, b"\x82"),
        raw(DATA, END_STREAM, 2, b"x"),
        raw(RST_STREAM, 0, 2, CANCEL),
        raw(WINDOW_UPDATE, 0, 2, ONE),
    ],
    ids=[
        "DATA",
        "RST_STREAM",
        "WINDOW_UPDATE",
        "PUSH_PROMISE",
        "CONTINUATION",
        "DATA on the server's",
        "RST_STREAM on the server's",
        "WINDOW_UPDATE on the server's",
    ],
)
def test_5_1_idle(wire: Wire, frame: bytes) -> None:
    """'Receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be treated as a connection
    error of type PROTOCOL_ERROR.'
    """
    goes_on(wire)
    wire.send_bytes(frame)
    connection_error(wire, PROTOCOL_ERROR)


def test_5_1_idle_headers_on_the_server_s(wire: Wire) -> None:
    """'If this stream is initiated by the server [...], then receiving a HEADERS frame MUST also be treated as a
    connection error of type PROTOCOL_ERROR.'
    """
    wire.send(wire.fields(GET, stream=2))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("stream", [1, 2, 99])
def test_5_1_idle_priority(wire: Wire, stream: int) -> None:
    """'PRIORITY can be sent and received in any stream state.'"""
    wire.send_bytes(raw(PRIORITY, 0, stream, b"\0\0\0\0\7"))
    goes_on(wire)


# 5.1, open and half-closed (local).


def test_5_1_half_closed_local(wire: Wire) -> None:
    """'An endpoint can receive any type of frame in this state': the response is complete, the request goes on."""
    stream = wire.open("/early", "POST", end=False)
    assert wire.reply(stream).status == 413
    wire.say(stream, b"more")
    wire.send_bytes(raw(WINDOW_UPDATE, 0, stream, ONE) + raw(PRIORITY, 0, stream, b"\0\0\0\0\7"))
    wire.send(wire.fields([("x-checksum", "1")], stream=stream))
    goes_on(wire)
    assert wire.replies[stream].reset is None


def test_5_1_half_closed_local_reset(wire: Wire) -> None:
    """'A stream transitions from this state to "closed" [...] when either peer sends a RST_STREAM frame.'"""
    stream = wire.open("/early", "POST", end=False)
    assert wire.reply(stream).status == 413
    wire.send(reset(stream))
    goes_on(wire)
    assert wire.replies[stream].reset is None


def test_5_1_open_reset(server: Server, wire: Wire, tag: str) -> None:
    """'Either endpoint can send a RST_STREAM frame from this state': the application hears of it, nothing follows."""
    stream = wire.open(f"/hold?tag={tag}", "POST", end=False)
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send(reset(stream))
    eventually(lambda: server.stats(tag)["ended"] == {"http.disconnect": 1})
    goes_on(wire)
    assert not wire.replies[stream].frames


# 5.1, half-closed (remote).


def test_5_1_half_closed_remote_data(wire: Wire) -> None:
    """'If an endpoint receives additional frames, other than WINDOW_UPDATE, PRIORITY, or RST_STREAM, [...] it MUST
    respond with a stream error of type STREAM_CLOSED.'
    """
    stream = wire.open("/hold")
    wire.send(data(stream, b"more"))
    stream_error(wire, stream, STREAM_CLOSED)


def test_5_1_half_closed_remote_headers(wire: Wire) -> None:
    """'[...] additional frames, other than WINDOW_UPDATE, PRIORITY, or RST_STREAM': a stream error STREAM_CLOSED."""
    stream = wire.open("/hold")
    wire.send(wire.fields([("x-trailer", "1")], stream=stream))
    stream_error(wire, stream, STREAM_CLOSED)


def test_5_1_half_closed_remote_application_is_told(server: Server, wire: Wire, tag: str) -> None:
    """A stream error ends the stream for the application, too: it does not wait for ever for who was reset."""
    stream = wire.open(f"/hold?tag={tag}")
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send(data(stream, b"more"))
    stream_error(wire, stream, STREAM_CLOSED)
    eventually(lambda: server.stats(tag)["active"] == 0)


def test_5_1_half_closed_remote_continuation(wire: Wire) -> None:
    """A CONTINUATION here breaks two rules, and 'if a frame causes a connection error, that error MUST be reported'
    (5.4): PROTOCOL_ERROR, as 6.10 has it.
    """
    stream = wire.open("/hold")
    wire.send_bytes(raw(CONTINUATION, END_HEADERS, stream, b"\x82"))
    connection_error(wire, PROTOCOL_ERROR)


def test_5_1_half_closed_remote_window_update_and_priority(wire: Wire) -> None:
    """WINDOW_UPDATE and PRIORITY are expressly permitted in this state."""
    stream = wire.open("/stream")
    wire.send_bytes(raw(WINDOW_UPDATE, 0, stream, ONE) + raw(PRIORITY, 0, stream, b"\0\0\0\0\7"))
    assert wire.reply(stream).body == b"0;1;2;3;4;"


def test_5_1_half_closed_remote_reset(server: Server, wire: Wire, tag: str) -> None:
    """RST_STREAM is expressly permitted in this state, and closes the stream."""
    stream = wire.open(f"/hold?tag={tag}")
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send(reset(stream))
    eventually(lambda: server.stats(tag)["ended"] == {"http.disconnect": 1})
    goes_on(wire)
    assert not wire.replies[stream].frames


# 5.1, closed.


@pytest.mark.parametrize(
    "frame",
    [raw(WINDOW_UPDATE, 0, 1, ONE), raw(RST_STREAM, 0, 1, CANCEL), raw(PRIORITY, 0, 1, b"\0\0\0\0\7")],
    ids=["WINDOW_UPDATE", "RST_STREAM", "PRIORITY"],
)
@pytest.mark.parametrize("how", ["ended by both", "reset by the client", "reset by the server"])
def test_5_1_closed_late_frames(wire: Wire, frame: bytes, how: str) -> None:
    """'An endpoint that sends a frame with the END_STREAM flag set or a RST_STREAM frame might receive a WINDOW_UPDATE
    or RST_STREAM frame'; PRIORITY in any state: no error.
    """
    _closed(wire, how)
    wire.send_bytes(frame)
    goes_on(wire)


def _closed(wire: Wire, how: str) -> None:
    """Close stream 1."""
    if how == "ended by both":
        goes_on(wire)
    elif how == "reset by the client":
        wire.send(reset(wire.open("/hold")))
        goes_on(wire)
    else:
        stream = wire.open("/hold", "POST", end=False)
        wire.send(window(stream, LAST))
        stream_error(wire, stream, FLOW_CONTROL_ERROR)


@pytest.mark.parametrize("how", ["ended by both", "reset by the client"])
def test_5_1_closed_data(wire: Wire, how: str) -> None:
    """'MAY treat receipt of any other type of frame on a closed stream as a connection error of type STREAM_CLOSED';
    6.1 has a stream error for DATA; 'an endpoint can perform this minimal processing for all streams'. One of the
    three.
    """
    _closed(wire, how)
    wire.send(data(1, b"late", end=True))
    refused_as_closed(wire, 1)


def test_5_1_closed_headers_behind_the_client_s_reset(wire: Wire) -> None:
    """Trailers behind one's own reset: an error STREAM_CLOSED of either kind, or discarded."""
    _closed(wire, "reset by the client")
    wire.send(wire.fields([("x-trailer", "1")], stream=1))
    refused_as_closed(wire, 1)


@pytest.mark.parametrize(
    "frame",
    [
        raw(DATA, 0, 1, b"late"),
        raw(DATA, END_STREAM, 1, b"late"),
        raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x10\1a\1b"),
    ],
    ids=["DATA", "end of the body", "trailers"],
)
def test_5_1_closed_by_the_server_s_reset(wire: Wire, frame: bytes) -> None:
    """'An endpoint that sends a RST_STREAM frame [...] could receive any type of frame. [It] MUST minimally process and
    then discard any frames it receives in this state.' (5.4.2: it 'MAY send additional RST_STREAM frames')
    """
    _closed(wire, "reset by the server")
    wire.send_bytes(frame)
    goes_on(wire)


def test_5_1_closed_data_counts_for_the_connection(wire: Wire) -> None:
    """'The content of DATA frames counts toward the connection flow-control window': and comes back, or all would
    stall.
    """
    _closed(wire, "reset by the server")
    for _ in range(3 * 64):  # 3 MiB: more than the connection's window holds
        wire.until(lambda: wire.allowed(0) >= 16_384)
        wire.send(data(1, bytes(16_384)))
        wire.sent[0] += 16_384
    stream = wire.open("/echo", "POST", end=False)
    wire.say(stream, bytes(100_000), end=True)
    assert wire.reply(stream).body.endswith(b" 100000")


def test_5_1_closed_nothing_behind_the_client_s_reset(wire: Wire) -> None:
    """'After receiving a RST_STREAM on a stream, the receiver MUST NOT send additional frames for that stream'
    (6.4).
    """
    stream = wire.open("/trickle")
    wire.until(lambda: len(wire.replies[stream].body) > 2)
    wire.send(reset(stream), PingFrame(0, b"resetnow"))
    wire.until(lambda: any(isinstance(frame, PingFrame) and "ACK" in frame.flags for frame in wire.events))
    frames = wire.replies[stream].frames
    for _ in range(3):
        assert wire.get("/stream").status == 200
    assert wire.replies[stream].frames == frames


# 5.1.1.


def test_5_1_1_headers_on_an_ended_stream(wire: Wire) -> None:
    """'Stream identifiers cannot be reused': a connection error, PROTOCOL_ERROR for the identifier (5.1.1) or
    STREAM_CLOSED for the state (5.1).
    """
    goes_on(wire)
    wire.send(wire.fields(GET, stream=1))
    connection_error(wire, PROTOCOL_ERROR, STREAM_CLOSED)


@pytest.mark.parametrize("stream", [3, 7])
def test_5_1_1_identifier_below_the_last(wire: Wire, stream: int) -> None:
    """'The identifier of a newly established stream MUST be numerically greater than all streams that the initiating
    endpoint has opened [...]. An unexpected stream identifier: a connection error of type PROTOCOL_ERROR.'
    """
    head = wire.fields(GET, stream=9)
    wire.send(head)
    assert wire.reply(9).status == 200
    wire.send(wire.fields(GET, stream=stream))
    connection_error(wire, PROTOCOL_ERROR)


def test_5_1_1_data_on_a_skipped_stream(wire: Wire) -> None:
    """'An endpoint may skip a stream identifier, with the effect that the skipped stream is immediately closed': an
    error STREAM_CLOSED of either kind, or PROTOCOL_ERROR of the connection (5.1).
    """
    wire.send(wire.fields(GET, stream=9))
    assert wire.reply(9).status == 200
    wire.replies[3] = type(wire.replies[9])()
    wire.send(data(3, b"x"))
    either_error(wire, 3, STREAM_CLOSED, PROTOCOL_ERROR)


def test_5_1_1_identifiers_may_be_skipped(wire: Wire) -> None:
    """Identifiers grow; nothing asks for each of them."""
    for stream in (1, 101, 100_001, 10_000_001):
        wire.send(wire.fields(GET, stream=stream))
        assert wire.reply(stream).status == 200


def test_5_1_1_last_identifier(wire: Wire) -> None:
    """'Streams are identified by an unsigned 31-bit integer': the last of them is one like the others."""
    wire.send(wire.fields(GET, stream=LAST))
    assert wire.reply(LAST).status == 200


# 5.1.2.


def _limit(wire: Wire) -> int:
    """What the server's SETTINGS_MAX_CONCURRENT_STREAMS says."""
    wire.until(lambda: wire.initial_window > 0)
    first = next(frame for frame in wire.events if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags)
    return first.settings[SettingsFrame.MAX_CONCURRENT_STREAMS]


@pytest.mark.parametrize("end", [True, False], ids=["half-closed", "open"])
def test_5_1_2_one_stream_too_many(wire: Wire, tag: str, end: bool) -> None:
    """'[...] its advertised concurrent stream limit to be exceeded MUST [be] a stream error of type PROTOCOL_ERROR or
    REFUSED_STREAM'; 'open' and both 'half-closed' states count. The others go on, and there is room behind them.
    """
    held = [wire.head(f"/gate?tag={tag}", "POST", end=end) for _ in range(_limit(wire))]
    extra = wire.head()
    wire.send(*held, extra)
    assert wire.reply(extra.stream_id).reset in (PROTOCOL_ERROR, REFUSED_STREAM)
    wire.send(reset(held[0].stream_id))
    assert wire.get(f"/open?tag={tag}").status == 200
    if not end:
        wire.send(*(data(head.stream_id, end=True) for head in held[1:]))
    assert {wire.reply(head.stream_id).status for head in held[1:]} == {200}
    goes_on(wire)


# 5.2.


def test_5_2_1_initial_window_of_the_connection(server: Server) -> None:
    """'The initial value for the flow-control window is 65,535 octets for both new streams and the overall
    connection.'
    """
    with server.h2(connection_window=65_535) as wire:
        stream = wire.open("/down?n=200000")
        wire.until(lambda: len(wire.replies[stream].body) >= 65_535)
        _nothing_more(wire, stream, 65_535)
        wire.send(window(0, 200_000))
        assert len(wire.reply(stream).body) == 200_000


def test_5_2_1_initial_window_of_a_stream(server: Server) -> None:
    """'The initial value for the flow-control window is 65,535 octets for [...] new streams': without a setting."""
    with server.h2(stream_window=65_535) as wire:
        stream = wire.open("/down?n=200000")
        wire.until(lambda: len(wire.replies[stream].body) >= 65_535)
        _nothing_more(wire, stream, 65_535)
        wire.send(window(stream, 200_000))
        assert len(wire.reply(stream).body) == 200_000


def _nothing_more(wire: Wire, stream: int, size: int) -> None:
    """The server has had time to send more than `size` bytes of the body, and has not."""
    wire.send(PingFrame(0, b"nomore?!"))
    wire.until(lambda: any(isinstance(event, PingFrame) and event.opaque_data == b"nomore?!" for event in wire.events))
    wire.events[:] = [event for event in wire.events if not isinstance(event, PingFrame)]
    assert len(wire.replies[stream].body) == size


def test_5_2_1_only_data_is_flow_controlled(server: Server) -> None:
    """'Of the frames specified in this document, only DATA frames are subject to flow control.'"""
    with server.h2(stream_window=0) as wire:
        stream = wire.open("/down?n=10")
        wire.until(lambda: wire.replies[stream].status == 200)
        head = wire.get("/", "HEAD")
        assert head.status == 200
        assert head.whole
        _nothing_more(wire, stream, 0)


def test_5_2_2_frames_are_read_while_a_stream_is_blocked(server: Server) -> None:
    """'Failure to read promptly could lead to a deadlock when critical frames, such as WINDOW_UPDATE, are not read.'"""
    with server.h2(stream_window=100) as wire:
        blocked = [wire.open("/endless") for _ in range(5)]
        wire.until(lambda: all(len(wire.replies[stream].body) == 100 for stream in blocked))
        small = wire.get()
        assert small.body == b"ok"
        for stream in blocked:
            wire.send(window(stream, 50))
        wire.until(lambda: all(len(wire.replies[stream].body) == 150 for stream in blocked))


# 5.3.


def test_5_3_2_priority_in_headers(wire: Wire) -> None:
    """'The description of frame fields and some of the mandatory handling is retained': the signal is read over."""
    for exclusive in (0, 0x80):
        head = wire.fields(GET)
        wire.send_bytes(
            raw(
                HEADERS,
                END_HEADERS | END_STREAM | WITH_PRIORITY,
                head.stream_id,
                bytes([exclusive, 0, 0, 0, 255]) + head.data,
            )
        )
        assert wire.reply(head.stream_id).status == 200


def test_5_3_2_priority_of_streams_that_do_not_exist(wire: Wire) -> None:
    """'A PRIORITY frame does not affect the state of any stream' (6.3): any identifier, any dependency."""
    for stream, on in ((3, 0), (3, 5), (5, 3), (LAST, 1), (2, 4), (1, LAST)):
        frame = PriorityFrame(stream, depends_on=on, stream_weight=255, exclusive=bool(on % 3))
        wire.send(frame)
    goes_on(wire)


@pytest.mark.parametrize("in_headers", [False, True], ids=["PRIORITY", "HEADERS"])
def test_5_3_2_stream_that_depends_on_itself(wire: Wire, in_headers: bool) -> None:
    """RFC 7540 section 5.3.1 had 'a stream error of type PROTOCOL_ERROR', and RFC 9113 deprecates the signal: that
    error, or none. In no case the fault of the connection.
    """
    if in_headers:
        head = wire.fields(POST, end=False)
        stream = head.stream_id
        own = stream.to_bytes(4, "big") + b"\7"
        wire.send_bytes(raw(HEADERS, END_HEADERS | WITH_PRIORITY, stream, own + head.data))
    else:
        stream = wire.open("/echo", "POST", end=False)
        wire.send(PriorityFrame(stream, depends_on=stream))
    goes_on(wire)
    if not wire.replies[stream].over:
        wire.say(stream, b"body", end=True)
        assert wire.reply(stream).status == 200
    else:
        assert wire.replies[stream].reset == PROTOCOL_ERROR


# 5.4.


def test_5_4_1_goaway_names_the_last_stream(wire: Wire) -> None:
    """'[...] SHOULD first send a GOAWAY frame with the stream identifier of the last stream that it successfully
    received from its peer.'
    """
    goes_on(wire)
    wire.open("/hold")
    last = wire.open("/hold")
    wire.send_bytes(raw(DATA, 0, 0, b"x"))
    connection_error(wire, PROTOCOL_ERROR)
    assert wire.goaways == [(last, PROTOCOL_ERROR)]


def test_5_4_1_connection_is_closed(server: Server, wire: Wire, tag: str) -> None:
    """'After sending the GOAWAY frame for an error condition, the endpoint MUST close the TCP connection': no frame
    follows, and the applications hear of it.
    """
    wire.open(f"/hold?tag={tag}")
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send_bytes(raw(PING, 0, 1, b"12345678"))
    connection_error(wire, PROTOCOL_ERROR)
    assert wire.events[-1].type == GOAWAY
    eventually(lambda: server.stats(tag)["active"] == 0)


def test_5_4_2_other_streams_feel_nothing(wire: Wire, tag: str) -> None:
    """'A stream error is an error related to a specific stream that does not affect processing of other streams.'"""
    other = wire.open(f"/gate?tag={tag}")
    upload = wire.open("/echo", "POST", end=False)
    bad = wire.fields([*GET, ("Upper-Case", "1")])
    wire.send(bad)
    malformed(wire, bad.stream_id)
    wire.say(upload, b"body", end=True)
    assert wire.reply(upload).status == 200
    assert wire.get(f"/open?tag={tag}").status == 200
    assert wire.reply(other).body == b"gate"


def test_5_4_2_no_reset_for_a_reset(wire: Wire) -> None:
    """'To avoid looping, an endpoint MUST NOT send a RST_STREAM in response to a RST_STREAM frame.'"""
    stream = wire.open("/hold")
    wire.send(reset(stream), reset(stream), reset(stream))
    ended = wire.open("/")
    assert wire.reply(ended).status == 200
    wire.send(reset(ended))
    goes_on(wire)
    assert not [event for event in wire.events if isinstance(event, RstStreamFrame)]


def test_5_4_2_reset_is_the_last_frame(wire: Wire) -> None:
    """'A RST_STREAM is the last frame that an endpoint can send on a stream.'"""
    stream = wire.open("/trickle", "POST", end=False)
    wire.until(lambda: len(wire.replies[stream].body) > 1)
    wire.send(window(stream, LAST))
    assert wire.reply(stream).reset == FLOW_CONTROL_ERROR
    frames = wire.replies[stream].frames
    for _ in range(3):
        assert wire.get("/stream").status == 200
    assert wire.replies[stream].frames == frames


# 5.5.


@pytest.mark.parametrize("identifier", [0x07, 0x0A, 0xABCD, 0xFFFF])
def test_5_5_unknown_setting(wire: Wire, identifier: int) -> None:
    """'Implementations MUST ignore unknown or unsupported values in all extensible protocol elements.'"""
    wire.send_bytes(raw(SETTINGS, 0, 0, identifier.to_bytes(2, "big") + b"\xff\xff\xff\xff"))
    goes_on(wire)


def test_5_5_unknown_frame_in_a_field_block(wire: Wire) -> None:
    """'Extension frames that appear in the middle of a field block are not permitted; these MUST be treated as a
    connection error of type PROTOCOL_ERROR.'
    """
    encoded = block(wire, GET)
    wire.send_bytes(
        raw(HEADERS, END_STREAM, 1, encoded[:2])
        + raw(0xFA, 0, 1, b"x")
        + raw(CONTINUATION, END_HEADERS, 1, encoded[2:])
    )
    connection_error(wire, PROTOCOL_ERROR)


# What the windows allow the client (5.2, 6.9.1).


def test_5_2_client_beyond_the_window_of_a_stream(wire: Wire) -> None:
    """'A sender MUST respect flow-control limits imposed by a receiver'; for who does not, a FLOW_CONTROL_ERROR of
    either kind (6.9).
    """
    stream = wire.open("/sleep?s=1", "POST", end=False)
    wire.until(lambda: wire.initial_window > 0)
    for _ in range(2 + wire.initial_window // 16_384):
        wire.send(data(stream, bytes(16_384)))
    either_error(wire, stream, FLOW_CONTROL_ERROR)


def test_5_2_settings_of_a_window_hold_at_once(server: Server) -> None:
    """'[...] MUST apply the updated settings as soon as possible upon receipt' (6.5.3): the next response obeys."""
    with server.h2() as wire:
        wire.send(SettingsFrame(0, {INITIAL_WINDOW_SIZE: 1}))
        stream = wire.open("/down?n=100")
        wire.until(lambda: len(wire.replies[stream].body) == 1)
        _nothing_more(wire, stream, 1)
