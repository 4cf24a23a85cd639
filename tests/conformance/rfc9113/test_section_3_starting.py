"""RFC 9113 section 3: how a connection begins."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import Frame, SettingsFrame

from tests.conformance.rfc9113._reactions import GET, connection_error, goes_on
from tests.support.issuer import client_context
from tests.support.wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    SETTINGS,
    WINDOW_UPDATE,
    Ended,
    Line,
    connect,
    raw,
)

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Wire


def everything(line: Line) -> bytes:
    """All that the server sends until it ends the connection."""
    got = b""
    try:
        while True:
            got += line.recv()
    except Ended:
        return got


def frames_of(got: bytes) -> list[Frame]:
    frames = []
    while got:
        frame, length = Frame.parse_frame_header(memoryview(got[:9]))
        frame.parse_body(memoryview(got[9 : 9 + length]))
        frames.append(frame)
        got = got[9 + length :]
    return frames


class Bare(Line):
    """A connection on which ALPN chose `h2` and nothing was sent yet."""

    def __init__(self, server: Server) -> None:
        super().__init__(connect(server.port, server.context("h2")))


def test_3_2_h2_is_chosen_by_alpn(server: Server) -> None:
    """'HTTP/2 over TLS uses the "h2" protocol identifier.'"""
    with Line(connect(server.port, server.context("http/1.1", "h2"))) as line:
        assert line.sock.selected_alpn_protocol() == "h2"


def test_3_2_h2c_is_never_selected(server: Server) -> None:
    """'The "h2c" protocol identifier MUST NOT be sent by a client or selected by a server.'"""
    with Line(connect(server.port, server.context("h2c", "http/1.1"))) as line:
        assert line.sock.selected_alpn_protocol() == "http/1.1"


def test_3_2_h2c_alone_is_refused(server: Server) -> None:
    """'The "h2c" protocol identifier MUST NOT be [...] selected by a server', for want of another neither."""
    context = client_context(server.client, trust=server.client / "ca.crt", alpn=("h2c",))
    with pytest.raises((ssl.SSLError, Ended)), Line(connect(server.port, context)) as line:
        assert line.sock.selected_alpn_protocol() != "h2c"
        line.recv()


def test_3_3_no_prior_knowledge_over_tls(server: Server) -> None:
    """'HTTP/2 connections over TLS MUST use protocol negotiation in TLS': without ALPN a preface is no HTTP/2."""
    context = client_context(server.client, trust=server.client / "ca.crt", alpn=())
    with Line(connect(server.port, context)) as line:
        line.send_bytes(PREFACE + raw(SETTINGS, 0, 0))
        got = everything(line)
    assert not got or got.startswith(b"HTTP/1.1 "), got[:32]


def test_3_4_server_s_first_frame_is_settings(wire: Wire) -> None:
    """'The server connection preface consists of a potentially empty SETTINGS frame that MUST be the first frame.'"""
    first = wire.frame()
    assert isinstance(first, SettingsFrame)
    assert "ACK" not in first.flags


def test_3_4_client_s_settings_are_acknowledged(wire: Wire) -> None:
    """'The SETTINGS frames received from a peer as part of the connection preface MUST be acknowledged.'"""
    wire.until(lambda: any(isinstance(frame, SettingsFrame) and "ACK" in frame.flags for frame in wire.events))


def test_3_4_settings_may_be_empty(server: Server) -> None:
    """'This sequence MUST be followed by a SETTINGS frame, which MAY be empty.'"""
    with Bare(server) as line:
        line.send_bytes(PREFACE + raw(SETTINGS, 0, 0) + raw(PING, 0, 0, b"12345678"))
        got = b""
        while raw(PING, ACK, 0, b"12345678") not in got:
            got += line.recv()
        assert raw(SETTINGS, ACK, 0) in got


def test_3_4_frames_may_follow_at_once(server: Server) -> None:
    """'Clients are permitted to send additional frames to the server immediately after [...] the preface.'"""
    with server.h2() as wire:  # its preface is sent, nothing is received yet
        assert not wire.events
        goes_on(wire)


def test_3_4_preface_in_single_octets(server: Server) -> None:
    """A preface is a sequence of octets: how they are cut into TLS records and TCP segments says nothing."""
    with Bare(server) as line:
        for octet in PREFACE + raw(SETTINGS, 0, 0) + raw(PING, 0, 0, b"12345678"):
            line.send_bytes(bytes([octet]))
        got = b""
        while raw(PING, ACK, 0, b"12345678") not in got:
            got += line.recv()


@pytest.mark.parametrize(
    "preface",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        PREFACE.lower(),
        PREFACE[:-1] + b"x",
        b"\0" * 24,
        raw(SETTINGS, 0, 0),
        PREFACE[1:] + raw(SETTINGS, 0, 0),
    ],
    ids=["HTTP/1.1", "lower case", "last octet", "zeros", "none", "an octet short"],
)
def test_3_4_invalid_preface(server: Server, preface: bytes) -> None:
    """'MUST treat an invalid connection preface as a connection error PROTOCOL_ERROR. A GOAWAY frame MAY be
    omitted.'
    """
    with Bare(server) as line:
        line.send_bytes(preface)
        goaways = [frame.error_code for frame in frames_of(everything(line)) if frame.type == 7]
    assert goaways in ([PROTOCOL_ERROR], [])


@pytest.mark.parametrize(
    "first",
    [
        raw(PING, 0, 0, b"12345678"),
        raw(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x87\x84\x01\x09localhost"),
    ],
    ids=["PING", "WINDOW_UPDATE", "HEADERS"],
)
def test_3_4_preface_without_settings(server: Server, first: bytes) -> None:
    """'This sequence MUST be followed by a SETTINGS frame': without it the preface is invalid, GOAWAY or none."""
    with Bare(server) as line:
        line.send_bytes(PREFACE + first)
        goaways = [frame.error_code for frame in frames_of(everything(line)) if frame.type == 7]
    assert goaways in ([PROTOCOL_ERROR], [])


def test_3_4_preface_comes_once(wire: Wire) -> None:
    """'The client sends the client connection preface as the first application data octets': later, it is no frame."""
    goes_on(wire)
    wire.send_bytes(PREFACE)
    # Read as a frame it is one of 0x505249 octets, beyond SETTINGS_MAX_FRAME_SIZE: whatever follows, there is no more.
    wire.send(wire.fields(GET))
    connection_error(wire, PROTOCOL_ERROR, 6)
