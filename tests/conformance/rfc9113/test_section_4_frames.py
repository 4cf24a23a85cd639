"""RFC 9113 section 4: the layout of frames, their size, and the compression of fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import HeadersFrame, PingFrame, SettingsFrame

from tests.conformance.rfc9113._reactions import (
    GET,
    POST,
    block,
    connection_error,
    either_error,
    goes_on,
    malformed,
    stream_error,
)
from tests.support.wire import (
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    HEADER_TABLE_SIZE,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    data,
    raw,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Wire

RESERVED = 0x8000_0000


@pytest.mark.parametrize("stream", [0, 1, 2, 99], ids=["connection", "open", "even", "idle"])
@pytest.mark.parametrize("kind", [0x0B, 0x42, 0xFF])
def test_4_1_unknown_frame_type(wire: Wire, kind: int, stream: int) -> None:
    """'Implementations MUST ignore and discard frames of unknown types', on a stream in any state (section 5.1)."""
    opened = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(kind, 0xFF, stream, b"whatever it means"))
    wire.say(opened, b"body", end=True)
    assert wire.reply(opened).status == 200
    goes_on(wire)


@pytest.mark.parametrize(
    "frame",
    [
        raw(SETTINGS, 0xFE, 0),
        raw(WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1"),
        raw(WINDOW_UPDATE, 0xFF, 1, b"\0\0\0\1"),
        raw(PRIORITY, 0xFF, 1, b"\0\0\0\0\7"),
        raw(DATA, 0xF6, 1, b"x"),
    ],
    ids=["SETTINGS", "WINDOW_UPDATE of the connection", "WINDOW_UPDATE", "PRIORITY", "DATA"],
)
def test_4_1_unused_flags(wire: Wire, frame: bytes) -> None:
    """'Unused flags MUST be ignored on receipt.'"""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(frame)
    wire.say(stream, b"body", end=True)
    assert wire.reply(stream).status == 200
    goes_on(wire)


def test_4_1_unused_flags_of_ping(wire: Wire) -> None:
    """'Unused flags MUST be ignored on receipt and MUST be left unset when sending.'"""
    wire.send_bytes(raw(PING, 0xFE, 0, b"12345678"))
    wire.until(lambda: any(isinstance(frame, PingFrame) for frame in wire.events))
    assert "ACK" in next(frame for frame in wire.events if isinstance(frame, PingFrame)).flags


def test_4_1_unused_flags_of_headers(wire: Wire) -> None:
    """'Unused flags MUST be ignored on receipt': 0x02, 0x10, 0x40 and 0x80 mean nothing in HEADERS."""
    head = wire.fields(GET)
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM | 0xD2, head.stream_id, head.data))
    assert wire.reply(head.stream_id).status == 200


def test_4_1_unused_flags_of_rst_stream(wire: Wire) -> None:
    """'Unused flags MUST be ignored on receipt': a reset with flags is a reset."""
    stream = wire.open("/hold")
    wire.send_bytes(raw(RST_STREAM, 0xFF, stream, b"\0\0\0\x08"))
    goes_on(wire)
    assert not wire.replies[stream].frames


def test_4_1_reserved_bit(wire: Wire) -> None:
    """'The semantics of this bit are undefined, and the bit [...] MUST be ignored when receiving.'"""
    head = wire.fields(POST, end=False)
    wire.send_bytes(raw(HEADERS, END_HEADERS, RESERVED | head.stream_id, head.data))
    wire.send_bytes(raw(DATA, END_STREAM, RESERVED | head.stream_id, b"body"))
    assert wire.reply(head.stream_id).status == 200
    wire.send_bytes(raw(PING, 0, RESERVED, b"12345678") + raw(SETTINGS, 0, RESERVED))
    goes_on(wire)


def test_4_2_frame_of_16384_octets(wire: Wire) -> None:
    """'All implementations MUST be capable of receiving and minimally processing frames up to 2^14 octets.'"""
    stream = wire.open("/echo", "POST", end=False)
    wire.say(stream, bytes(16_384), end=True, size=16_384)
    assert wire.reply(stream).body.endswith(b" 16384")


def test_4_2_field_block_of_16384_octets(wire: Wire) -> None:
    """'[...] frames up to 2^14 octets in length', HEADERS as well."""
    head = wire.fields(GET)
    payload = head.data + _literal(16_384 - len(head.data))
    assert len(payload) == 16_384
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM, head.stream_id, payload))
    assert wire.reply(head.stream_id).status == 200


def _literal(size: int) -> bytes:
    """A field `a` without indexing whose representation takes exactly `size` octets (RFC 7541 section 6.2.2)."""
    length = size - 6  # 0x00, 0x01, "a", and three octets for the length of the value
    rest = length - 127
    return b"\x00\x01a" + bytes([0x7F, 0x80 | rest & 0x7F, rest >> 7]) + b"b" * length


def test_4_2_data_too_large(wire: Wire) -> None:
    """'MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds [...] SETTINGS_MAX_FRAME_SIZE': of either
    kind.
    """
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(DATA, 0, stream, bytes(16_385)))
    either_error(wire, stream, FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    "frame",
    [
        raw(HEADERS, END_HEADERS | END_STREAM, 1, bytes(16_385)),
        raw(SETTINGS, 0, 0, b"\0\xfa\0\0\0\0" * 2_731),
        raw(PING, 0, 0, bytes(16_385)),
        raw(0xFF, 0, 0, bytes(16_385)),
        raw(HEADERS, END_STREAM, 1, b"\x82") + raw(CONTINUATION, END_HEADERS, 1, bytes(16_385)),
    ],
    ids=["HEADERS", "SETTINGS", "PING", "unknown on stream 0", "CONTINUATION"],
)
def test_4_2_frame_that_changes_the_connection_too_large(wire: Wire, frame: bytes) -> None:
    """'A frame size error in a frame that could alter the state of the entire connection MUST be [...] a connection
    error; this includes any frame carrying a field block, a SETTINGS frame, and any frame with stream identifier 0.'
    """
    wire.send_bytes(frame)
    connection_error(wire, FRAME_SIZE_ERROR)


def test_4_2_frame_too_large_is_not_waited_for(wire: Wire) -> None:
    """A frame beyond SETTINGS_MAX_FRAME_SIZE is refused by its header: 16 MiB are not gathered first."""
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM, 1, length=2**24 - 1))
    connection_error(wire, FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    "frame",
    [
        raw(HEADERS, END_HEADERS | END_STREAM | PADDED, 1),
        raw(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\0"),
        raw(HEADERS, END_HEADERS | END_STREAM | PADDED | WITH_PRIORITY, 1, b"\0\0\0\0\0"),
    ],
    ids=["no pad length", "priority cut off", "pad length and priority cut off"],
)
def test_4_2_headers_too_small(wire: Wire, frame: bytes) -> None:
    """'MUST send [...] FRAME_SIZE_ERROR if a frame [...] is too small to contain mandatory frame data.'"""
    wire.send_bytes(frame)
    connection_error(wire, FRAME_SIZE_ERROR)


def test_4_2_padded_data_too_small(wire: Wire) -> None:
    """'[...] too small to contain mandatory frame data': of either kind, for DATA on a stream."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(DATA, PADDED, stream))
    either_error(wire, stream, FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    "fragment",
    [
        b"\x80",
        b"\xff\x7f",
        b"\x7f\xff\x7f",
        b"\x00\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x00\x05abc",
        b"\x00\x01a\x05b",
        b"\x00\x81\xff\x01b",
        b"\x00\x84\xff\xff\xff\xff\x01b",
        b"\x3f\xe2\x1f\x82\x87\x84",
        b"\x82\x87\x84\x20",
    ],
    ids=[
        "index 0",
        "index beyond the tables",
        "name index beyond the tables",
        "integer too long",
        "name cut off",
        "value cut off",
        "Huffman padding of eight bits",
        "Huffman EOS",
        "table larger than allowed",
        "table size in mid-block",
    ],
)
def test_4_3_decoding_error(wire: Wire, fragment: bytes) -> None:
    """'A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR.'"""
    goes_on(wire)
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM, wire.next_stream, fragment))
    connection_error(wire, COMPRESSION_ERROR)


def test_4_3_decoding_error_in_trailers(wire: Wire) -> None:
    """'A decoding error in a field block': whichever."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(HEADERS, END_HEADERS | END_STREAM, stream, b"\x80"))
    connection_error(wire, COMPRESSION_ERROR)


def _told(wire: Wire, fields: list[tuple[str, str]]) -> dict[str, str]:
    """The fields of a request as the application saw them."""
    head = wire.fields([*GET[:3], (":path", "/told"), *fields])
    wire.send(head)
    reply = wire.reply(head.stream_id)
    assert reply.status == 200
    return dict(json.loads(bytes(reply.body))["headers"])


def test_4_3_field_block_of_a_refused_stream_is_decompressed(wire: Wire) -> None:
    """'[...] needs to reassemble field blocks and perform decompression even if the frames are to be discarded.'"""
    held = [wire.head("/hold") for _ in range(100)]
    refused = wire.head("/", more=[("x-indexed", "in the table from here on")])
    wire.send(*held, refused)
    assert wire.reply(refused.stream_id).reset in (REFUSED_STREAM, PROTOCOL_ERROR)
    wire.send_bytes(raw(RST_STREAM, 0, held[0].stream_id, b"\0\0\0\x08"))
    assert _told(wire, [("x-indexed", "in the table from here on")])["x-indexed"] == "in the table from here on"


def test_4_3_field_block_of_a_malformed_request_is_decompressed(wire: Wire) -> None:
    """'[...] perform decompression even if the frames are to be discarded': a malformed request is one stream's
    fault.
    """
    head = wire.fields([*GET, ("x-indexed", "in the table from here on"), ("connection", "close")])
    wire.send(head)
    malformed(wire, head.stream_id)
    assert _told(wire, [("x-indexed", "in the table from here on")])["x-indexed"] == "in the table from here on"


def test_4_3_field_block_on_a_closed_stream_is_decompressed(wire: Wire) -> None:
    """'[...] perform decompression even if the frames are to be discarded': trailers behind the server's reset."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send_bytes(raw(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff"))  # beyond what a window may be: reset
    stream_error(wire, stream, 3)
    wire.send(wire.fields([("x-indexed", "in the table from here on")], stream=stream))
    assert _told(wire, [("x-indexed", "in the table from here on")])["x-indexed"] == "in the table from here on"


def test_4_3_fragments_of_one_octet(wire: Wire) -> None:
    """'A complete field section consists of [...] HEADERS [...] and one or more CONTINUATION frames': of any size."""
    head = wire.fields(GET)
    octets = [head.data[at : at + 1] for at in range(len(head.data))]
    wire.send_bytes(raw(HEADERS, END_STREAM, head.stream_id, octets[0]))
    for octet in octets[1:-1]:
        wire.send_bytes(raw(CONTINUATION, 0, head.stream_id, octet))
    wire.send_bytes(raw(CONTINUATION, END_HEADERS, head.stream_id, octets[-1]))
    assert wire.reply(head.stream_id).status == 200


def test_4_3_empty_fragments(wire: Wire) -> None:
    """Fragments are concatenated: an empty one changes nothing."""
    head = wire.fields(GET)
    wire.send_bytes(
        raw(HEADERS, END_STREAM, head.stream_id)
        + raw(CONTINUATION, 0, head.stream_id, head.data)
        + raw(CONTINUATION, END_HEADERS, head.stream_id)
    )
    assert wire.reply(head.stream_id).status == 200


@pytest.mark.parametrize(
    "between",
    [
        raw(PING, 0, 0, b"12345678"),
        raw(SETTINGS, 0, 0),
        raw(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        raw(PRIORITY, 0, 1, b"\0\0\0\0\7"),
        raw(DATA, 0, 1, b"x"),
        raw(RST_STREAM, 0, 1, b"\0\0\0\x08"),
        raw(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82"),
        raw(CONTINUATION, END_HEADERS, 3, b"\x82"),
    ],
    ids=[
        "PING",
        "SETTINGS",
        "WINDOW_UPDATE",
        "PRIORITY",
        "DATA",
        "RST_STREAM",
        "HEADERS of another stream",
        "CONTINUATION of another stream",
    ],
)
def test_4_3_field_block_is_contiguous(wire: Wire, between: bytes) -> None:
    """'Field blocks MUST be transmitted as a contiguous sequence of frames, with no interleaved frames of any other
    type or from any other stream.' (6.2: otherwise a connection error PROTOCOL_ERROR)
    """
    encoded = block(wire, GET)
    wire.send_bytes(raw(HEADERS, END_STREAM, 1, encoded[:2]) + between + raw(CONTINUATION, END_HEADERS, 1, encoded[2:]))
    connection_error(wire, PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 100])
def test_4_3_1_smaller_table_is_announced(server: Server, size: int) -> None:
    """'Its HPACK encoder MUST start the next field block with a Dynamic Table Size Update instruction', once it has
    acknowledged a table that is smaller.
    """
    with server.h2() as wire:
        goes_on(wire)  # with a table of 4,096 octets
        acknowledged = _acknowledgements(wire)
        wire.send(SettingsFrame(0, {HEADER_TABLE_SIZE: size}))
        wire.until(lambda: _acknowledgements(wire) > acknowledged)
        wire.decoder.max_allowed_table_size = size
        goes_on(wire)
        last = next(frame for frame in reversed(wire.events) if isinstance(frame, HeadersFrame))
        assert last.data[0] & 0xE0 == 0x20, "a Dynamic Table Size Update"
        goes_on(wire)
        assert wire.decoder.header_table_size <= size


def _acknowledgements(wire: Wire) -> int:
    return sum(isinstance(frame, SettingsFrame) and "ACK" in frame.flags for frame in wire.events)


def test_4_3_1_client_s_encoder_may_choose_a_smaller_table(wire: Wire) -> None:
    """'The HPACK encoder at that endpoint can set the dynamic table to any size up to the maximum value.'"""
    wire.encoder.header_table_size = 64
    goes_on(wire)
    wire.encoder.header_table_size = 0
    wire.encoder.header_table_size = 4_096
    goes_on(wire)
    stream = wire.open("/echo", "POST", end=False)
    wire.send(data(stream, b"", end=True))
    assert wire.reply(stream).status == 200
