"""Field sections that repeat: a client that asks again sends the same bytes, and the same bytes mean the same.

HPACK (RFC 7541) compresses against a table that both ends change as they go. A section that changes nothing in it, and
is read or written again while the table is as it was, is the same section: what h2 found when it decoded and checked
it holds, and is not found again. Every check is made, once for the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.stream import H2Stream
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from services.transport.head import from_http2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from h2.utilities import HeaderValidationFlags

    from services.transport.head import Head

_MOST = 8
"""Sections that are remembered: a connection asks for few things over and over, or for many once."""

_LARGEST = 256
"""Bytes of a compressed section that is remembered. What is asked for over and over is a few indices."""


class CompressionError(ProtocolError):
    """A field block that cannot be decoded (RFC 9113 section 4.3)."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class Section(list[HeaderTuple]):
    """A decoded section, and what became of it."""

    __slots__ = ("_head", "as_", "checked")

    def __init__(self, fields: Iterable[HeaderTuple]) -> None:
        super().__init__(fields)
        self.as_: HeaderValidationFlags | None = None
        self.checked: Section | None = None
        """What h2 made of it, by these rules."""
        self._head: Head | None = None

    def head(self) -> Head:
        """The head of a request. Nobody changes it."""
        if self._head is None:
            self._head = from_http2(self)
        return self._head


class _Table(HeaderTable):
    """HPACK's dynamic table, which says that it changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def add(self, name: bytes, value: bytes) -> None:
        self._changed()
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self._changed()
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


class SectionDecoder(Decoder):
    """h2's decoder, that knows a section again."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.header_table = _Table(self._forget)
        self._known: dict[bytes, Section] = {}
        self._is_same = False

    def _forget(self) -> None:
        self._is_same = False
        self._known.clear()

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """The fields of a section. Raises CompressionError, DenialOfServiceError."""
        known = self._known.get(data) if raw else None
        try:
            if known is not None:
                self._assert_valid_table_size()
                return known
            self._is_same = True
            section = Section(super().decode(data, raw))
        except OversizedHeaderListError:
            raise DenialOfServiceError("the request's head is too large") from None
        except HPACKError as error:
            raise CompressionError(str(error)) from error
        if raw and self._is_same and len(data) <= _LARGEST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[data] = section
        return section


class SectionEncoder(Encoder):
    """hpack's encoder, that has the bytes of a section it has encoded. It is given plain pairs of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table = _Table(self._forget)
        self._known: dict[tuple[Any, ...], bytes] = {}
        self._is_same = False

    def _forget(self) -> None:
        self._is_same = False
        self._known.clear()

    @property
    def header_table_size(self) -> int:
        """What the peer allows for the dynamic table (RFC 9113 section 6.5.2)."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        # Set to what it is already, hpack would forget that a change has not been told yet: its index means another
        # entry to the peer from then on.
        if size != self.header_table.maxsize:
            Encoder.header_table_size.fset(self, size)  # type: ignore[attr-defined]

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """The bytes of a section."""
        key = tuple(headers)
        known = self._known.get(key)
        if known is not None and not self.header_table.resized:
            return known
        self._is_same = not self.header_table.resized
        encoded = super().encode(key, huffman)
        if self._is_same and len(encoded) <= _LARGEST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = encoded
        return encoded


class SectionStream(H2Stream):
    """h2's stream, that does not check a section again which it has found sound."""

    def _process_received_headers(self, headers: Any, header_validation_flags: Any, header_encoding: Any) -> list[Any]:
        section = cast("Section", headers)
        if section.checked is None or section.as_ != header_validation_flags:
            checked = super()._process_received_headers(section, header_validation_flags, header_encoding)
            section.as_, section.checked = header_validation_flags, Section(cast("list[HeaderTuple]", checked))
        return section.checked
