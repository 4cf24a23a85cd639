"""A server's h2 connection that bears with its client, and ends, as RFC 9113 has it.

h2 takes the first GOAWAY, sent or received, for the end of the connection: from then on it refuses to send or receive
anything, and the streams in flight are lost. Here a GOAWAY is a frame like another, and the streams go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from h2.events import Event
    from hyperframe.frame import Frame

EVERY_STREAM = 2**31 - 1
"""The last-stream-id of the first GOAWAY of a graceful end: none of the client's streams is refused yet."""


_COMPRESSION_TABLE = 4_096
"""Bytes of the table that our header compression uses at most, whatever the client allows (RFC 7541 section 4.2 lets it
be less): hpack searches it from end to end for each field, and the client would choose how long that takes."""


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

    def __init__(self, *, max_streams: int, max_header_list_size: int, stream_window: int) -> None:
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
        # h2 tells its decoder only when the client has acknowledged the settings: a header bomb may come before.
        self.decoder.max_header_list_size = max_header_list_size

    def goaway(self, last_stream_id: int, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Queue a GOAWAY; streams up to `last_stream_id` go on."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream_id
        frame.error_code = error
        self._prepare_for_sending([frame])

    def give_back(self, size: int, stream_id: int) -> None:
        """Let the client send `size` bytes more on a stream, if that is still open.

        h2 is ahead of its own events: it may have closed the stream, and forgotten it, in the batch at hand.
        """
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self.increment_flow_control_window(size, stream_id)

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
