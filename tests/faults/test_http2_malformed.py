"""HTTP/2 that is malformed never reaches the application, and ends as RFC 9113 says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import SettingsFrame

from tests.support.wire import (
    COMPRESSION_ERROR,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    Ended,
    Line,
    connect,
    data,
)

if TYPE_CHECKING:
    from tests.support.server import Server


GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no method": GOOD[1:],
    "no scheme": [GOOD[0], *GOOD[2:]],
    "no path": GOOD[:3],
    "empty path": [*GOOD[:3], (":path", "")],
    "two methods": [GOOD[0], *GOOD],
    "two paths": [*GOOD, (":path", "/other")],
    "unknown pseudo-header": [*GOOD, (":secret", "1")],
    "response pseudo-header": [*GOOD, (":status", "200")],
    "pseudo-header behind a field": [*GOOD[:3], ("x-a", "b"), GOOD[3]],
    "upper-case name": [*GOOD, ("X-Upper", "1")],
    "blank in a name": [*GOOD, ("x a", "1")],
    "empty name": [*GOOD, ("", "1")],
    "line break in a value": [*GOOD, ("x-a", "b\r\nc: d")],
    "NUL in a value": [*GOOD, ("x-a", "b\0c")],
    "line break in the path": [*GOOD[:3], (":path", "/\r\nx: y")],
    "connection": [*GOOD, ("connection", "close")],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "te without trailers": [*GOOD, ("te", "gzip")],
    "host that differs from :authority": [*GOOD, ("host", "elsewhere")],
    "content-length without a body": [*GOOD, ("content-length", "5")],
    "content-length that is no number": [*GOOD, ("content-length", "+5")],
    "two content-lengths": [*GOOD, ("content-length", "0"), ("content-length", "1")],
    "path without a slash": [*GOOD[:3], (":path", "index")],
    "path that is a URL": [*GOOD[:3], (":path", "https://elsewhere/")],
    "path that is not ASCII": [*GOOD[:3], (":path", "/\xe4")],
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request(server: Server, case: str, tag: str) -> None:
    """A malformed request never reaches the application: 400, a reset or the end of its connection."""
    fields = [(name, value if value != "/" else f"/?tag={tag}") for name, value in MALFORMED[case]]
    with server.h2() as wire:
        stream = wire.fields([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])
        wire.send(stream)
        try:
            reply = wire.reply(stream.stream_id)
            assert reply.status == 400 or reply.reset == PROTOCOL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == PROTOCOL_ERROR
    assert server.stats(tag)["seen"] == 0


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (1, 2, 3, 0), (2, 3, 1, 0)])
def test_order_of_pseudo_headers_does_not_matter(server: Server, order: tuple[int, ...]) -> None:
    """Node sends :path before :method; nothing forbids it (RFC 9113 section 8.3)."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/method")]
    with server.h2() as wire:
        head = wire.fields([fields[at] for at in order])
        wire.send(head)
        assert wire.reply(head.stream_id).body == b"POST"


@pytest.mark.parametrize("sent", [3, 7])
def test_body_that_is_not_as_long_as_it_says(server: Server, sent: int) -> None:
    """A body shorter or longer than its content-length is refused; the application does not take it for whole."""
    with server.h2() as wire:
        stream = wire.open("/echo", "POST", end=False, more=[("content-length", "5")])
        wire.send(data(stream, b"x" * sent, end=True))
        try:
            assert wire.reply(stream).reset == PROTOCOL_ERROR
        except Ended:
            assert wire.goaways[-1][1] == PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("raw", "errors"),
    {
        "HEADERS on stream 0": (b"\0\0\1\1\5\0\0\0\0\x82", {PROTOCOL_ERROR}),
        "HEADERS on an even stream": (b"\0\0\1\1\5\0\0\0\2\x82", {PROTOCOL_ERROR}),
        "DATA on stream 0": (b"\0\0\1\0\0\0\0\0\0x", {PROTOCOL_ERROR}),
        "DATA on an idle stream": (b"\0\0\1\0\0\0\0\0\x63x", {PROTOCOL_ERROR}),
        "RST_STREAM on an idle stream": (b"\0\0\4\3\0\0\0\0\x63\0\0\0\1", {PROTOCOL_ERROR, None}),
        "WINDOW_UPDATE of nothing": (b"\0\0\4\x08\0\0\0\0\0\0\0\0\0", {PROTOCOL_ERROR}),
        "WINDOW_UPDATE of the wrong size": (b"\0\0\3\x08\0\0\0\0\0\0\0\1", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "PING of the wrong size": (b"\0\0\5\6\0\0\0\0\0abcde", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "SETTINGS of the wrong size": (b"\0\0\5\4\0\0\0\0\0abcde", {FRAME_SIZE_ERROR, PROTOCOL_ERROR}),
        "SETTINGS with a window beyond 2^31-1": (b"\0\0\6\4\0\0\0\0\0\0\4\xff\xff\xff\xff", {FLOW_CONTROL_ERROR}),
        "SETTINGS with a frame size of 1": (b"\0\0\6\4\0\0\0\0\0\0\5\0\0\0\1", {PROTOCOL_ERROR}),
        "frame beyond 16 KiB": (b"\0\x50\0\0\0\0\0\0\1" + bytes(0x5000), {FRAME_SIZE_ERROR}),
        "PUSH_PROMISE": (b"\0\0\5\5\4\0\0\0\1\0\0\0\2\x82", {PROTOCOL_ERROR}),
        "CONTINUATION alone": (b"\0\0\1\x09\4\0\0\0\1\x82", {PROTOCOL_ERROR}),
        "padding longer than its frame": (b"\0\0\2\0\x08\0\0\0\1\xffx", {PROTOCOL_ERROR}),
        "HPACK index beyond the table": (b"\0\0\2\1\5\0\0\0\1\xff\x7f", {COMPRESSION_ERROR, PROTOCOL_ERROR}),
    }.items(),
    ids=lambda value: None,
)
def test_wrong_frame(server: Server, raw: str, errors: tuple[bytes, set[int | None]]) -> None:
    """A frame that breaks RFC 9113 ends in the GOAWAY that names the error."""
    frame, allowed = errors
    with server.h2() as wire:
        wire.send_bytes(frame)
        if None in allowed:
            return
        assert wire.goaway_error() in allowed, raw


def test_no_preface(server: Server) -> None:
    """Who agrees on h2 and speaks HTTP/1.1 is let go."""
    with Line(connect(server.port, server.context("h2"))) as line:
        line.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with pytest.raises(Ended, match="close_notify"):
            while True:
                line.recv()


def test_unknown_frames_and_settings_are_ignored(server: Server) -> None:
    """Extensions that we do not know are no fault (RFC 9113 section 5.5)."""
    with server.h2() as wire:
        wire.send_bytes(b"\0\0\5\xfa\xff\0\0\0\0hello" + b"\0\0\5\xfa\xff\0\0\0\1hello")
        wire.send(SettingsFrame(0, {0xABCD: 1}))
        assert wire.get().status == 200
