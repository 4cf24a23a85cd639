"""A server's h2 connection that bears with its client, and ends, as RFC 9113 has it.

h2 takes the first GOAWAY, sent or received, for the end of the connection: from then on it refuses to send or receive
anything, and the streams in flight are lost. Here a GOAWAY is a frame like another, and the streams go on.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, StreamReset
from h2.exceptions import FlowControlError, InvalidBodyLengthError, ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamInputs
from hyperframe.frame import GoAwayFrame

from services.transport.h2_frames import FaultyFrame, FrameReader
from services.transport.h2_sections import SectionDecoder, SectionEncoder, SectionStream

if TYPE_CHECKING:
    from h2.connection import AllowedStreamIDs
    from h2.events import Event
    from h2.stream import H2Stream
    from hyperframe.frame import DataFrame, Frame, HeadersFrame, PriorityFrame, RstStreamFrame

EVERY_STREAM = 2**31 - 1
"""The last-stream-id of the first GOAWAY of a graceful end: none of the client's streams is refused yet."""


_COMPRESSION_TABLE = 4_096
"""Bytes of the table that our header compression uses at most, whatever the client allows (RFC 7541 section 4.2 lets it
be less): hpack searches it from end to end for each field, and the client would choose how long that takes."""

_FRAME_HEADER = Struct(">BHBBL")
"""Length in two parts, type, flags, stream (RFC 9113 section 4.1)."""
_DATA, _END_STREAM = 0x00, 0x01


class _Announced(Settings):
    """Settings whose limit of streams is told to the client and not held by h2.

    h2 ends the connection, and a hundred streams with it, for one stream too many. It is a stream error (RFC 9113
    section 5.1.2), and a client may not have seen the limit yet: `HTTP2` refuses the stream.
    """

    @property  # type: ignore[misc]  # h2's has a setter, which nobody calls
    def max_concurrent_streams(self) -> int:
        return EVERY_STREAM


class ServerConnection(H2Connection):
    """h2's connection in the server's role, with our settings."""

    def __init__(
        self, *, max_streams: int, max_header_list_size: int, stream_window: int, max_continuations: int
    ) -> None:
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                # What we send was made or checked by us (stream.py); everything that comes in is checked by h2.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.local_settings = _Announced(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: max_header_list_size,
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,  # WebSocket over HTTP/2 (RFC 8441)
            },
        )
        self.incoming_buffer = FrameReader(max_continuations)
        self._frame_dispatch_table[FaultyFrame] = self._receive_faulty_frame
        # h2 tells its decoder only when the client has acknowledged the settings: a header bomb may come before.
        self.decoder = SectionDecoder(max_header_list_size)
        self.encoder = SectionEncoder()

    def goaway(self, last_stream_id: int, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Queue a GOAWAY; streams up to `last_stream_id` go on."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream_id
        frame.error_code = error
        self._prepare_for_sending([frame])

    def send_body(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool) -> int:
        """Queue DATA, in frames as large as the client takes; return how many those are.

        What h2's `send_data` does for each frame, and copies four times, is done here once. Raises what that raises.
        """
        size, limit = len(data), self.max_outbound_frame_size
        if size > self.local_flow_control_window(stream_id):
            raise FlowControlError(f"{size} bytes are more than the window of stream {stream_id}")
        stream = self._get_stream_by_id(stream_id)
        self.state_machine.process_input(ConnectionInputs.SEND_DATA)
        stream.state_machine.process_input(StreamInputs.SEND_DATA)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        self.outbound_flow_control_window -= size
        stream.outbound_flow_control_window -= size
        out, view, starts = self._data_to_send, memoryview(data), range(0, size, limit)
        for start in starts:
            piece = view[start : start + limit]
            flags = _END_STREAM if end_stream and start + limit >= size else 0
            out += _FRAME_HEADER.pack(len(piece) >> 16, len(piece) & 0xFFFF, _DATA, flags, stream_id)
            out += piece
        return len(starts)

    def take_output(self) -> bytearray:
        """All that is queued, handed over and not copied."""
        data, self._data_to_send = self._data_to_send, bytearray()
        return data

    def give_back(self, size: int, stream_id: int) -> None:
        """Let the client send `size` bytes more on a stream, if that is still open.

        h2 is ahead of its own events: it may have closed the stream, and forgotten it, in the batch at hand.
        """
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self.increment_flow_control_window(size, stream_id)

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = SectionStream  # h2 has no hook for it
        return stream

    def _acknowledge_settings(self) -> list[Frame]:
        frames = super()._acknowledge_settings()
        if self.encoder.header_table_size > _COMPRESSION_TABLE:
            self.encoder.header_table_size = _COMPRESSION_TABLE
        return frames

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        """The client opens no more streams. Those that it opened are still to be answered."""
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]

    # A fault of one stream ends one stream (section 5.4.2): h2 ends the connection.

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        stream = self.streams.get(frame.stream_id)
        announced = stream._expected_content_length if stream is not None else None  # noqa: SLF001
        try:
            frames, events = super()._receive_headers_frame(frame)
            if stream is not None and announced is not None:  # h2 forgets it when there are trailers
                stream._expected_content_length = announced  # noqa: SLF001
                stream._track_content_length(0, end_stream=True)  # noqa: SLF001
        except ProtocolError as error:
            malformed = type(error) in (ProtocolError, InvalidBodyLengthError)
            if not malformed or frame.stream_id not in self.streams:
                raise
            return self._fail_stream(frame.stream_id, ErrorCodes.PROTOCOL_ERROR)
        return frames, events

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError:
            if frame.flow_controlled_length:
                self.increment_flow_control_window(frame.flow_controlled_length)
            return self._fail_stream(frame.stream_id, ErrorCodes.PROTOCOL_ERROR)

    def _receive_faulty_frame(self, frame: FaultyFrame) -> tuple[list[Frame], list[Event]]:
        self._refuse_idle(frame.stream_id)
        return self._fail_stream(frame.stream_id, frame.error)

    def _receive_rst_stream_frame(self, frame: RstStreamFrame) -> tuple[list[Frame], list[Event]]:
        self._refuse_idle(frame.stream_id)
        return super()._receive_rst_stream_frame(frame)

    def _receive_priority_frame(self, frame: HeadersFrame | PriorityFrame) -> tuple[list[Frame], list[Event]]:
        if frame.depends_on == frame.stream_id:  # without a meaning (section 5.3.2): no reason to end anything
            frame.depends_on = 0
        return super()._receive_priority_frame(frame)

    def _refuse_idle(self, stream_id: int) -> None:
        last = self.highest_inbound_stream_id if stream_id % 2 else self.highest_outbound_stream_id
        if stream_id > last:
            raise ProtocolError(f"stream {stream_id} is idle (section 5.1)")

    def _fail_stream(self, stream_id: int, error: ErrorCodes) -> tuple[list[Frame], list[Event]]:
        stream = self.streams.get(stream_id)
        if stream is None or stream.closed:  # both have said all they had to say
            return [], []
        return stream.reset_stream(error), [StreamReset(stream_id=stream_id, error_code=error, remote_reset=False)]
