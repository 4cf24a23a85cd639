"""A body leaves in as few calls as its window allows, and as the frames that h2 itself would have sent."""

from __future__ import annotations

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from h2.exceptions import FlowControlError, StreamClosedError
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame

from services.transport.h2_connection import ServerConnection

_REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]


def _asked(frame_size: int = 16_384, window: int = 1_000_000) -> tuple[h2.connection.H2Connection, ServerConnection]:
    """A client that has asked on stream 1, and the server that has sent its head."""
    client = h2.connection.H2Connection(H2Configuration(client_side=True))
    server = ServerConnection(max_streams=10, max_header_list_size=16_384, stream_window=65_535, max_continuations=4)
    server.initiate_connection()
    client.initiate_connection()
    client.update_settings({SettingCodes.MAX_FRAME_SIZE: frame_size, SettingCodes.INITIAL_WINDOW_SIZE: window})
    client.increment_flow_control_window(window)
    client.send_headers(1, _REQUEST, end_stream=True)
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(b":status", b"200")])
    client.receive_data(server.take_output())
    return client, server


def _frames(data: bytes | bytearray) -> list[DataFrame]:
    found = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        assert isinstance(frame, DataFrame)
        found.append(frame)
        data = data[9 + length :]
    return found


@pytest.mark.parametrize("frame_size", [16_384, 100_000, 2**24 - 1])
@pytest.mark.parametrize("size", [1, 16_384, 16_385, 200_000])
def test_a_body_is_cut_into_frames_as_large_as_the_client_takes(frame_size: int, size: int) -> None:
    client, server = _asked(frame_size)
    body = bytes(range(256)) * (size // 256 + 1)
    count = server.send_body(1, memoryview(body)[:size], end_stream=True)
    output = server.take_output()
    frames = _frames(output)
    assert count == len(frames) == -(-size // frame_size)
    assert [len(frame.data) for frame in frames[:-1]] == [frame_size] * (count - 1)
    assert ["END_STREAM" in frame.flags for frame in frames] == [False] * (count - 1) + [True]
    events = client.receive_data(output)
    assert b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived)) == body[:size]
    assert isinstance(events[-1], h2.events.StreamEnded)


def test_it_counts_for_the_windows_of_stream_and_connection() -> None:
    _, server = _asked(window=70_000)
    before = server.outbound_flow_control_window
    server.send_body(1, b"x" * 50_000, end_stream=False)
    assert server.local_flow_control_window(1) == 20_000
    assert server.outbound_flow_control_window == before - 50_000
    with pytest.raises(FlowControlError):
        server.send_body(1, b"x" * 20_001, end_stream=True)
    assert len(_frames(server.take_output())) == 4  # nothing of what was refused
    server.send_body(1, b"x" * 20_000, end_stream=True)


def test_nothing_is_sent_on_a_stream_that_was_reset_or_has_ended() -> None:
    client, server = _asked()
    client.reset_stream(1)
    server.receive_data(client.data_to_send())
    server.take_output()
    with pytest.raises(StreamClosedError):
        server.send_body(1, b"late", end_stream=True)
    assert not server.take_output()
    _, ended = _asked()
    ended.send_body(1, b"all", end_stream=True)
    with pytest.raises(StreamClosedError):
        ended.send_body(1, b"more", end_stream=True)


@pytest.mark.parametrize("size", [0, 1, 16_384])
def test_an_upload_is_read_as_h2_reads_it(size: int) -> None:
    client, server = _asked()
    client.send_headers(3, _REQUEST)
    client.send_data(3, b"y" * size, end_stream=False)
    client.send_data(3, b"z", end_stream=True, pad_length=7)
    data = client.data_to_send()
    events = [event for byte in range(0, len(data), 1000) for event in server.receive_data(data[byte : byte + 1000])]
    plain, padded = (event for event in events if isinstance(event, h2.events.DataReceived))
    assert (plain.data, plain.flow_controlled_length, plain.stream_ended) == (b"y" * size, size, None)
    assert (padded.data, padded.flow_controlled_length) == (b"z", 9)
    assert padded.stream_ended is not None
