"""RFC 9113 section 8: HTTP messages over streams; what is malformed, and what becomes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from tests.conformance.rfc9113._reactions import (
    GET,
    POST,
    block,
    connection_error,
    goes_on,
    malformed,
    stream_error,
)
from tests.support.server import eventually
from tests.support.wire import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NO_ERROR,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    STREAM_CLOSED,
    data,
    raw,
    reset,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Reply, Wire

Fields = list[tuple[str, str]]

METHOD, SCHEME, AUTHORITY, PATH = GET


def told(reply: Reply) -> dict:
    """The request as the application saw it."""
    assert reply.status == 200
    return json.loads(bytes(reply.body))


def ask(wire: Wire, fields: Fields, *, end: bool = True) -> int:
    """Send these fields as they are, in ISO 8859-1; return the stream."""
    head = wire.fields([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields], end=end)
    wire.send(head)
    return head.stream_id


def refused(server: Server, wire: Wire, fields: Fields, tag: str) -> None:
    """A malformed request: an error of its stream alone, and the application has not seen it."""
    marked = [(name, f"/?tag={tag}") if (name, value) == PATH else (name, value) for name, value in fields]
    malformed(wire, ask(wire, marked))
    assert server.stats(tag)["seen"] == 0


# 8.1, framing.


def test_8_1_body_in_pieces_and_trailers(wire: Wire) -> None:
    """A request is 'one HEADERS frame, [...] zero or more DATA frames [...] and optionally, one HEADERS frame
    containing the trailer section'.
    """
    stream = wire.open("/echo", "POST", end=False)
    for _ in range(5):
        wire.send(data(stream, b"12"))
    wire.send(wire.fields([("x-checksum", "1")], stream=stream))
    assert wire.reply(stream).body.endswith(b" 10")


def test_8_1_trailers_without_a_body(wire: Wire) -> None:
    """'Zero or more DATA frames': trailers may follow the head."""
    stream = wire.open("/echo", "POST", end=False)
    wire.send(wire.fields([("x-checksum", "1")], stream=stream))
    assert wire.reply(stream).body.endswith(b" 0")


def test_8_1_trailers_that_do_not_end_the_stream(wire: Wire) -> None:
    """'[...] a HEADERS frame without the END_STREAM flag set after receiving the HEADERS frame that opens a request
    [...] MUST [be] treat[ed] as malformed.'
    """
    stream = wire.open("/echo", "POST", end=False)
    wire.send(data(stream, b"body"), wire.fields([("x-checksum", "1")], stream=stream, end=False))
    malformed(wire, stream)


@pytest.mark.parametrize("field", [(":path", "/"), (":method", "GET"), (":status", "200"), (":unknown", "1")])
def test_8_1_trailers_with_pseudo_headers(wire: Wire, field: tuple[str, str]) -> None:
    """'Trailers MUST NOT include pseudo-header fields. [...] MUST treat the request or response as malformed.'"""
    stream = wire.open("/hold", "POST", end=False)
    wire.send(data(stream, b"body"), wire.fields([field], stream=stream))
    stream_error(wire, stream, PROTOCOL_ERROR)


def test_8_1_malformed_trailers_are_not_the_end_of_a_request(server: Server, wire: Wire, tag: str) -> None:
    """A request whose trailers are malformed is malformed: its application hears of an abort, not of a whole body."""
    stream = wire.open(f"/hold?tag={tag}", "POST", end=False)
    eventually(lambda: server.stats(tag)["active"] == 1)
    wire.send(data(stream, b"body"), wire.fields([("Upper", "1")], stream=stream))
    stream_error(wire, stream, PROTOCOL_ERROR)
    eventually(lambda: server.stats(tag)["ended"] == {"http.disconnect": 1})


@pytest.mark.parametrize("field", [("connection", "close"), ("te", "gzip"), ("x a", "1"), ("x-a", "b\nc")])
def test_8_1_trailers_with_what_no_field_section_may_hold(wire: Wire, field: tuple[str, str]) -> None:
    """A trailer section is a field section: 8.2.1 and 8.2.2 hold for it."""
    stream = wire.open("/hold", "POST", end=False)
    wire.send(data(stream, b"body"), wire.fields([field], stream=stream))
    stream_error(wire, stream, PROTOCOL_ERROR)


def test_8_1_nothing_behind_the_trailers(wire: Wire) -> None:
    """'The last frame in the sequence bears an END_STREAM flag': DATA behind it is STREAM_CLOSED (5.1)."""
    stream = wire.open("/hold", "POST", end=False)
    wire.send(wire.fields([("x-checksum", "1")], stream=stream), data(stream, b"late"))
    stream_error(wire, stream, STREAM_CLOSED)


def _response(wire: Wire, path: str, method: str = "GET") -> tuple[list[HeadersFrame | DataFrame], Reply]:
    """The frames of a response, in order."""
    stream, frames = wire.open(path, method), []
    while not wire.replies[stream].over:
        frame = wire.frame()
        if isinstance(frame, HeadersFrame | DataFrame) and frame.stream_id == stream:
            frames.append(frame)
    return frames, wire.replies[stream]


def test_8_1_response(wire: Wire) -> None:
    """A response is HEADERS, DATA, and END_STREAM on its last frame alone; 'the chunked transfer encoding cannot be
    used'.
    """
    for path in ("/", "/stream", "/down?n=100000", "/trailers-only"):
        frames, reply = _response(wire, path)
        assert isinstance(frames[0], HeadersFrame)
        assert all(isinstance(frame, DataFrame) for frame in frames[1:])
        assert ["END_STREAM" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
        assert not reply.headers.keys() & {"transfer-encoding", "connection", "keep-alive", "upgrade"}


def test_8_1_response_with_trailers(wire: Wire) -> None:
    """'Trailer fields are carried in a field block that also terminates the stream. Trailers MUST NOT include
    pseudo-header fields.'
    """
    frames, reply = _response(wire, "/trailers")
    assert isinstance(frames[-1], HeadersFrame)
    assert "END_STREAM" in frames[-1].flags
    assert reply.trailers == {"x-sum": "1", "x-end": "2"}


def test_8_1_interim_response(wire: Wire) -> None:
    """'A server MAY send any number of interim responses before the HEADERS frame containing a final response.
    [...] with the END_STREAM flag set [it] is malformed.'
    """
    frames, reply = _response(wire, "/hints")
    assert [status for status, _ in reply.informational] == [103]
    assert "END_STREAM" not in frames[0].flags
    assert reply.status == 200


@pytest.mark.parametrize("code", [204, 304])
def test_8_1_response_without_content(wire: Wire, code: int) -> None:
    """'204 or 304 responses contain no content': no octet of DATA, whatever the application says."""
    frames, reply = _response(wire, f"/status?s={code}")
    assert reply.status == code
    assert not any(frame.data for frame in frames if isinstance(frame, DataFrame))


@pytest.mark.parametrize("path", ["/", "/stream", "/trailers", "/early"])
def test_8_1_head(wire: Wire, path: str) -> None:
    """'[Nor does] the response to a HEAD request', which 'MAY have a non-zero content-length' all the same."""
    frames, reply = _response(wire, path, "HEAD")
    assert reply.whole
    assert not any(frame.data for frame in frames if isinstance(frame, DataFrame))
    goes_on(wire)


def test_8_1_response_before_the_request_ends(wire: Wire) -> None:
    """'A server can send a complete response prior to the client sending an entire request': and takes the rest, or
    resets the stream with NO_ERROR.
    """
    stream = wire.open("/early", "POST", end=False)
    reply = wire.reply(stream)
    assert reply.whole
    wire.say(stream, bytes(300_000), end=True)
    goes_on(wire)
    assert reply.reset in (None, NO_ERROR)


# 8.1.1, malformed messages.


@pytest.mark.parametrize(
    ("length", "pieces"),
    [("5", 3), ("5", 6), ("0", 1), ("5", 0), ("18446744073709551615", 4)],
    ids=["short", "long", "none", "empty", "huge"],
)
@pytest.mark.parametrize("trailers", [False, True], ids=["END_STREAM on DATA", "on trailers"])
def test_8_1_1_content_length(wire: Wire, length: str, pieces: int, trailers: bool) -> None:
    """'A request or response is also malformed if the value of a content-length header field does not equal the sum
    of the DATA frame payload lengths.'
    """
    stream = wire.open("/hold", "POST", end=False, more=[("content-length", length)])
    wire.send(*(data(stream, b"x") for _ in range(pieces)))
    if trailers:
        wire.send(wire.fields([("x-checksum", "1")], stream=stream))
    else:
        wire.send(data(stream, end=True))
    malformed(wire, stream)


def test_8_1_1_content_length_of_a_head_that_ends_the_stream(server: Server, wire: Wire, tag: str) -> None:
    """'[...] does not equal the sum of the DATA frame payload lengths': of none, the sum is 0."""
    refused(server, wire, [*GET, ("content-length", "5")], tag)


@pytest.mark.parametrize("lengths", [("4", "5"), ("5", "4")])
def test_8_1_1_two_content_lengths(wire: Wire, lengths: tuple[str, str]) -> None:
    """One of two that differ does not equal the sum: malformed, from the head or at its end."""
    stream = wire.open("/hold", "POST", end=False, more=[("content-length", length) for length in lengths])
    wire.send(data(stream, b"body", end=True))
    malformed(wire, stream)


@pytest.mark.parametrize("value", ["", "+4", "-4", "0x4", "4 4", "4,4", "\xb4", "four"])
def test_8_1_1_content_length_that_is_no_number(wire: Wire, value: str) -> None:
    """A value that is no number equals no sum."""
    stream = ask(wire, [*POST[:3], (":path", "/hold"), ("content-length", value)], end=False)
    if not wire.replies[stream].over:
        wire.send(data(stream, b"body", end=True))
    malformed(wire, stream)


def test_8_1_1_content_length_that_is_right(wire: Wire) -> None:
    """Equal is equal: with padding, in pieces, with zeros before it, and of nothing."""
    for length, pieces in (("10", 5), ("010", 5), ("0", 0)):
        stream = wire.open("/echo", "POST", end=False, more=[("content-length", length)])
        wire.send(*(data(stream, b"12", pad=7) for _ in range(pieces)), data(stream, end=True))
        assert wire.reply(stream).status == 200


def test_8_1_1_too_long_is_noticed_at_once(wire: Wire) -> None:
    """A body that is longer than it said never reaches its end: the fault is clear before."""
    stream = wire.open("/hold", "POST", end=False, more=[("content-length", "5")])
    wire.send(data(stream, b"123456"))
    malformed(wire, stream)


# 8.2.1, validity of fields.


@pytest.mark.parametrize(
    "name",
    ["X-Upper", "xA", "x a", " x", "x ", "x\ta", "x\0a", "x\ra", "x\na", "x\x1fa", "x\x7fa", "x\x80a", "x\xffa", ""],
)
def test_8_2_1_name(server: Server, wire: Wire, tag: str, name: str) -> None:
    """'A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff'; none is no name."""
    refused(server, wire, [*GET, (name, "1")], tag)


@pytest.mark.parametrize("name", ["x:a", "x:", "::path", ":path:"])
def test_8_2_1_colon_in_a_name(server: Server, wire: Wire, tag: str, name: str) -> None:
    """'Field names MUST NOT include a colon', but for the single one that begins a pseudo-header's."""
    refused(server, wire, [*GET, (name, "1")], tag)


@pytest.mark.parametrize("value", ["\0", "a\0b", "a\nb", "a\rb", "\n", "a\r\nb: c", "b\r"])
def test_8_2_1_value(server: Server, wire: Wire, tag: str, value: str) -> None:
    """'A field value MUST NOT contain the zero value, line feed, or carriage return at any position.'"""
    refused(server, wire, [*GET, ("x-a", value)], tag)


@pytest.mark.parametrize("value", [" a", "a ", "\ta", "a\t", " "])
def test_8_2_1_white_space_around_a_value(server: Server, wire: Wire, tag: str, value: str) -> None:
    """'A field value MUST NOT start or end with an ASCII whitespace character.'"""
    refused(server, wire, [*GET, ("x-a", value)], tag)


@pytest.mark.parametrize("value", ["/\0", "/\n", "/a\rb"])
def test_8_2_1_value_of_a_pseudo_header(wire: Wire, value: str) -> None:
    """The minimal validation is of all fields, pseudo-headers as well."""
    malformed(wire, ask(wire, [*GET[:3], (":path", value)]))


def test_8_2_1_what_is_valid(wire: Wire) -> None:
    """Empty values, inner white space, octets above 0x7f and every character of a token: the application gets them."""
    fields = {"x-empty": "", "x-inner": "a \t b", "x-high": "\x80\xff", "!#$%&'*+-.^_`|~09az": "token"}
    stream = ask(wire, [*GET[:3], (":path", "/told"), *fields.items()])
    got = dict(told(wire.reply(stream))["headers"])
    assert {name: got[name] for name in fields} == fields


# 8.2.2, connection-specific fields.


@pytest.mark.parametrize(
    "field",
    [
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
    ],
    ids=": ".join,
)
def test_8_2_2_connection_specific_field(server: Server, wire: Wire, tag: str, field: tuple[str, str]) -> None:
    """'Any message containing connection-specific header fields MUST be treated as malformed. [TE] MUST NOT contain any
    value other than "trailers".'"""
    refused(server, wire, [*GET, field], tag)


def test_8_2_2_te_trailers(wire: Wire) -> None:
    """'The TE header field [...] MAY be present in an HTTP/2 request': gRPC sends it."""
    assert wire.get(more=[("te", "trailers")]).status == 200


def test_8_2_2_none_in_a_response(wire: Wire) -> None:
    """'An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields', nor upper
    case.
    """
    reply = wire.get("/upper-case")
    assert reply.status == 200
    assert not reply.headers.keys() & {"keep-alive", "upgrade", "connection"}
    assert reply.headers["x-upper"] == "padded"


# 8.2.3, cookies.


def test_8_2_3_cookie_crumbs(wire: Wire) -> None:
    """'If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet
    string using [...] "; " before being passed into [...] a generic HTTP server application.'"""
    crumbs = [("cookie", "a=b"), ("x-between", "1"), ("cookie", "c=d"), ("cookie", "e=f; g=h")]
    stream = ask(wire, [*GET[:3], (":path", "/told"), *crumbs])
    fields = told(wire.reply(stream))["headers"]
    assert [value for name, value in fields if name == "cookie"] == ["a=b; c=d; e=f; g=h"]


# 8.3, pseudo-headers.


@pytest.mark.parametrize(
    "field", [(":unknown", "1"), (":status", "200"), (":", ""), (":host", "localhost")], ids="".join
)
def test_8_3_undefined_pseudo_header(server: Server, wire: Wire, tag: str, field: tuple[str, str]) -> None:
    """'Pseudo-header fields defined for responses MUST NOT appear in requests. [...] undefined or invalid pseudo-header
    fields [make it] malformed.'"""
    refused(server, wire, [*GET, field], tag)


@pytest.mark.parametrize("at", range(4), ids=[name for name, _ in GET])
def test_8_3_pseudo_header_behind_a_field(wire: Wire, at: int) -> None:
    """'[...] a pseudo-header field that appears in a field block after a regular field line MUST be treated as
    malformed.'
    """
    malformed(wire, ask(wire, [*GET[:at], *GET[at + 1 :], ("x-a", "b"), GET[at]]))


@pytest.mark.parametrize("at", range(4), ids=[name for name, _ in GET])
@pytest.mark.parametrize("same", [True, False], ids=["same value", "another value"])
def test_8_3_repeated_pseudo_header(wire: Wire, at: int, same: bool) -> None:
    """'The same pseudo-header field name MUST NOT appear more than once in a field block.'"""
    malformed(wire, ask(wire, [*GET, (GET[at][0], GET[at][1] if same else "/other")]))


def test_8_3_order_of_pseudo_headers(wire: Wire) -> None:
    """Before all regular fields, they come in any order."""
    assert wire.reply(ask(wire, [PATH, AUTHORITY, SCHEME, METHOD])).status == 200


# 8.3.1, requests.


@pytest.mark.parametrize("missing", [METHOD, SCHEME, PATH], ids=[":method", ":scheme", ":path"])
def test_8_3_1_missing_pseudo_header(wire: Wire, missing: tuple[str, str]) -> None:
    """'All HTTP/2 requests MUST include exactly one valid value for the ":method", ":scheme", and ":path" pseudo-header
    fields. [...] An HTTP request that omits mandatory pseudo-header fields is malformed.'"""
    malformed(wire, ask(wire, [field for field in GET if field != missing]))


@pytest.mark.parametrize("path", ["", "index", "https://localhost/", "?query", "/\xe4"])
def test_8_3_1_path(wire: Wire, path: str) -> None:
    """'This pseudo-header field MUST NOT be empty for "http" or "https" URIs'; it is 'the absolute-path production and,
    optionally, a "?" character followed by the query production'."""
    malformed(wire, ask(wire, [*GET[:3], (":path", path)]))


@pytest.mark.parametrize("method", ["", "GE T", "GET\t", "G(T", "\xe4"])
def test_8_3_1_method(wire: Wire, method: str) -> None:
    """'Exactly one valid value for the ":method"': a method is a token (RFC 9110 section 9.1)."""
    malformed(wire, ask(wire, [(":method", method), *GET[1:]]))


def test_8_3_1_asterisk(wire: Wire) -> None:
    """'A request in asterisk form (for OPTIONS) includes the value "*" for the ":path" pseudo-header field.'"""
    reply = wire.reply(ask(wire, [(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*")]))
    assert reply.status == 404, "of the application, which knows no such path"


def test_8_3_1_host_that_differs_from_authority(server: Server, wire: Wire, tag: str) -> None:
    """'A server SHOULD treat a request as malformed if it contains a Host header field that identifies an entity that
    differs from the entity in the ":authority" pseudo-header field.'"""
    refused(server, wire, [*GET, ("host", "elsewhere.example")], tag)


def test_8_3_1_host_that_equals_authority(wire: Wire) -> None:
    """Host beside ":authority" is in order where both say the same."""
    assert wire.reply(ask(wire, [*GET, ("host", "localhost")])).status == 200


def test_8_3_1_host_in_the_place_of_authority(wire: Wire) -> None:
    """':authority' is not mandatory: who translates from HTTP/1.1 may leave the authority in Host."""
    assert wire.reply(ask(wire, [METHOD, SCHEME, PATH, ("host", "localhost")])).status == 200


def test_8_3_1_authority_with_userinfo(server: Server, wire: Wire, tag: str) -> None:
    """'":authority" MUST NOT include the deprecated userinfo subcomponent for "http" or "https" schemed URIs', and 8.3:
    '[...] invalid pseudo-header fields [make it] malformed'."""
    refused(server, wire, [METHOD, SCHEME, (":authority", "alice:secret@localhost"), PATH], tag)


def test_8_3_1_authority_reaches_the_application_as_host(wire: Wire) -> None:
    """'An intermediary that needs to generate a Host header field MUST use the value from the ":authority"', once."""
    stream = ask(
        wire, [METHOD, SCHEME, (":authority", "localhost:8443"), (":path", "/told"), ("host", "localhost:8443")]
    )
    fields = told(wire.reply(stream))["headers"]
    assert [value for name, value in fields if name == "host"] == ["localhost:8443"]
    assert not [name for name, _ in fields if name.startswith(":")]


# 8.3.2, responses.


@pytest.mark.parametrize("path", ["/", "/hints", "/trailers", "/nowhere", "/status?s=204"])
def test_8_3_2_status(wire: Wire, path: str) -> None:
    """'A single ":status" pseudo-header field is defined [...] MUST be included in all responses, including interim
    responses', before all regular fields; no other pseudo-header is."""
    stream = wire.open(path)
    sections: list[Fields] = []
    decode = wire.decoder.decode
    wire.decoder.decode = lambda block: sections.append(decode(block)) or sections[-1]  # type: ignore[method-assign]
    wire.reply(stream)
    heads = sections[:-1] if path == "/trailers" else sections
    for section in heads:
        assert section[0][0] == ":status"
        assert not [name for name, _ in section[1:] if name.startswith(":")]
    if path == "/trailers":
        assert not [name for name, _ in sections[-1] if name.startswith(":")]


# 8.4, server push.


def test_8_4_client_cannot_push(wire: Wire) -> None:
    """'A client cannot push. Thus, servers MUST treat the receipt of a PUSH_PROMISE frame as a connection error of type
    PROTOCOL_ERROR': also where CONTINUATION ends it."""
    wire.open("/hold", "POST", end=False)
    encoded = block(wire, GET)
    wire.send_bytes(raw(PUSH_PROMISE, 0, 1, b"\0\0\0\2" + encoded[:2]) + raw(CONTINUATION, END_HEADERS, 1, encoded[2:]))
    connection_error(wire, PROTOCOL_ERROR)


# 8.5, CONNECT.


CONNECT = [(":method", "CONNECT"), (":authority", "localhost:443")]


@pytest.mark.parametrize(
    "fields",
    [
        [*CONNECT, SCHEME],
        [*CONNECT, PATH],
        [*CONNECT, SCHEME, PATH],
        CONNECT[:1],
        [*CONNECT, (":protocol", "websocket")],
        [*CONNECT, (":protocol", "websocket"), SCHEME],
        [*GET, (":protocol", "websocket")],
    ],
    ids=[
        "with :scheme",
        "with :path",
        "with both",
        "without :authority",
        "extended without :scheme and :path",
        "extended without :path",
        ":protocol without CONNECT",
    ],
)
def test_8_5_malformed_connect(wire: Wire, fields: Fields) -> None:
    """'The ":scheme" and ":path" pseudo-header fields MUST be omitted. [...] A CONNECT request that does not conform to
    these restrictions is malformed.' With ":protocol" (RFC 8441 section 4) they must not be."""
    malformed(wire, ask(wire, fields, end=False))


def test_8_5_connect_to_who_is_no_proxy(wire: Wire) -> None:
    """'CONNECT is primarily used with HTTP proxies': a server that is none says so, and opens no tunnel."""
    reply = wire.reply(ask(wire, CONNECT))
    assert reply.reset is not None or 400 <= (reply.status or 0) < 600
    goes_on(wire)


# 8.6, upgrade.


def test_8_6_no_upgrade(server: Server, wire: Wire, tag: str) -> None:
    """'HTTP/2 does not support the 101 (Switching Protocols) informational status code': who asks for it as in HTTP/1.1
    sends a connection-specific field."""
    refused(server, wire, [*GET, ("upgrade", "websocket"), ("connection", "upgrade")], tag)


# 8.7, request reliability.


def test_8_7_refused_stream_was_not_processed(server: Server, wire: Wire, tag: str) -> None:
    """'If frames that are on a stream are passed to the application layer [...], then REFUSED_STREAM MUST NOT be
    used for that stream': who is refused may send again.
    """
    held = [wire.head(f"/hold?tag={tag}") for _ in range(100)]
    over = [wire.head(f"/?tag={tag}") for _ in range(10)]
    wire.send(*held, *over)
    assert {wire.reply(head.stream_id).reset for head in over} == {REFUSED_STREAM}
    eventually(lambda: server.stats(tag)["seen"] == 100)
    wire.send(*(reset(head.stream_id) for head in held))
    eventually(lambda: server.stats(tag)["active"] == 0)
    goes_on(wire)
    assert server.stats(tag)["seen"] == 100


def test_8_7_goaway_covers_what_was_processed(server: Server, wire: Wire, tag: str) -> None:
    """'A GOAWAY frame MUST include a stream identifier that is greater than or equal to the given stream
    identifier': also one that answers an error in the same segment.
    """
    heads = [wire.head(f"/hold?tag={tag}") for _ in range(10)]
    wire.send_bytes(b"".join(head.serialize() for head in heads) + raw(HEADERS, END_HEADERS | END_STREAM, 0))
    connection_error(wire, PROTOCOL_ERROR)
    assert server.stats(tag)["seen"] == 0 or wire.goaways[-1][0] >= heads[-1].stream_id
