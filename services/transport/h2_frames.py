"""A reader of frames that is as exact as RFC 9113 where h2's is not.

h2 gathers a frame of up to 16 MiB before it looks at its length, ends the connection for what is the fault of one
stream, takes a reserved bit for a number, and any frame for the SETTINGS that a preface ends in.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, FrameTooLargeError, ProtocolError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import DataFrame, ExtensionFrame, Frame

_DATA, _HEADERS, _PRIORITY, _SETTINGS, _WINDOW_UPDATE, _CONTINUATION = 0x00, 0x01, 0x02, 0x04, 0x08, 0x09
_ACK = _END_STREAM = 0x01
_PADDED = 0x08


class FaultyFrame(ExtensionFrame):
    """A frame whose fault is its stream's (RFC 9113 section 5.4.2)."""

    def __init__(self, kind: int, stream_id: int, error: ErrorCodes) -> None:
        super().__init__(kind, stream_id)
        self.error = error


class FrameReader(FrameBuffer):
    """Bytes of a client in, frames out."""

    def __init__(self, max_continuations: int) -> None:
        """`max_continuations`: CONTINUATION frames that one head may come in (VU#421644)."""
        super().__init__(server=True)
        self._begun = False
        self._max_continuations = max_continuations

    def __next__(self) -> Frame:
        data = self._data
        if len(data) < 9:
            raise StopIteration
        length, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        self._validate_frame_length(length)  # before it is there: 16 MiB are not gathered to be refused
        if not self._begun:
            if kind != _SETTINGS or flags & _ACK:
                raise ProtocolError("the preface does not end in SETTINGS (RFC 9113 section 3.4)")
            self._begun = True
        if kind == _CONTINUATION and len(self._headers_buffer) > self._max_continuations:
            raise DenialOfServiceError("too many CONTINUATION frames for one head")
        if len(data) < 9 + length:
            raise StopIteration
        if kind == _DATA and not flags & _PADDED and not self._headers_buffer:
            stream_id = int.from_bytes(data[5:9], "big") & 0x7FFF_FFFF
            if stream_id:
                return self._data_frame(stream_id, flags, length)
        if kind == _HEADERS and flags & _PADDED and length:
            self._strip_padding(length)
        elif kind == _SETTINGS and flags & _ACK and length:
            raise FrameTooLargeError("SETTINGS ACK with a payload (section 6.5)")
        elif kind in (_WINDOW_UPDATE, _PRIORITY) and not self._headers_buffer:
            stream_id = int.from_bytes(data[5:9], "big") & 0x7FFF_FFFF
            if kind == _WINDOW_UPDATE and length == 4:
                data[9] &= 0x7F  # one reserved bit (section 6.9)
                if stream_id and not any(data[9:13]):
                    del data[:13]
                    return FaultyFrame(kind, stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif kind == _PRIORITY and length != 5 and stream_id:
                del data[: 9 + length]
                return FaultyFrame(kind, stream_id, ErrorCodes.FRAME_SIZE_ERROR)
        return super().__next__()

    def _data_frame(self, stream_id: int, flags: int, length: int) -> DataFrame:
        """As hyperframe reads it: most of the bytes of an upload, copied once."""
        frame = DataFrame(stream_id)
        if flags & _END_STREAM:
            frame.flags.add("END_STREAM")
        with memoryview(self._data) as view:
            frame.data = bytes(view[9 : 9 + length])
        frame.body_len = length
        del self._data[: 9 + length]
        return frame

    def _strip_padding(self, length: int) -> None:
        """hyperframe refuses a fragment that is empty because of its padding, and lets padding eat up a priority."""
        data = self._data
        pad = data[9]
        if pad >= length:
            raise ProtocolError("padding as long as its frame (section 6.2)")
        data[9 : 9 + length] = data[10 : 9 + length - pad]
        data[:3] = (length - 1 - pad).to_bytes(3, "big")
        data[4] &= ~_PADDED
