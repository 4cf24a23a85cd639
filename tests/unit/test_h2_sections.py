"""Field sections that repeat are known again; that they mean what they meant is held against hpack itself."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from services.transport.h2_sections import CompressionError, SectionDecoder, SectionEncoder

LARGE = 1 << 16
NAMES = st.sampled_from([b":method", b":path", b"date", b"x-a", b"x-b", b"x-long", b"cookie"])
VALUES = st.sampled_from([b"GET", b"/", b"", b"1", b"2", b"v" * 30, b"w" * 90])
SECTION = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=6)
STEP = st.one_of(SECTION, st.sampled_from([0, 64, 150, 4_096]))


@given(st.lists(STEP, max_size=40))
def test_what_is_decoded_is_what_hpack_decodes(steps: list[list[tuple[bytes, bytes]] | int]) -> None:
    """Over sections that repeat, entries that push others out, and tables whose size changes."""
    encoder, plain, ours = SectionEncoder(), Decoder(LARGE), SectionDecoder(LARGE)
    for step in steps:
        if isinstance(step, int):
            encoder.header_table_size = step
            continue
        for _ in range(3):
            block = encoder.encode(step)
            assert list(ours.decode(block, raw=True)) == list(plain.decode(block, raw=True))


@given(st.lists(STEP, max_size=40))
def test_what_is_encoded_is_what_hpack_encodes(steps: list[list[tuple[bytes, bytes]] | int]) -> None:
    """To the byte, and so its reader's table is what it has to be."""
    plain, ours, reader = Encoder(), SectionEncoder(), Decoder(LARGE)
    for step in steps:
        if isinstance(step, int):
            ours.header_table_size = step
            if step != plain.header_table_size:  # else hpack forgets a change that it has not told
                plain.header_table_size = step
            continue
        for _ in range(3):
            block = ours.encode(step)
            assert block == plain.encode(step)
            assert [tuple(field) for field in reader.decode(block, raw=True)] == step


def test_a_size_that_is_set_twice_is_told() -> None:
    """Two SETTINGS frames before an answer, the same in both: the peer's table is not left behind."""
    ours, reader = SectionEncoder(), Decoder(LARGE)
    for size in (0, 64, 64):
        ours.header_table_size = size
        if size == 0:
            reader.decode(ours.encode([(b"x-a", b"1")]), raw=True)
    for _ in range(3):
        assert list(reader.decode(ours.encode([(b"x-a", b"2")]), raw=True)) == [(b"x-a", b"2")]


def test_a_section_is_decoded_once_while_nothing_changes() -> None:
    """The same object; a new entry in the table, and the same bytes are another section."""
    encoder, ours = Encoder(), SectionDecoder(LARGE)
    first = [(b"x-a", b"1"), (b"x-b", b"2")]
    ours.decode(encoder.encode(first), raw=True)
    block = encoder.encode(first)
    assert ours.decode(block, raw=True) is ours.decode(block, raw=True)
    assert ours.decode(encoder.encode([(b"x-c", b"3")]), raw=True) != first
    assert ours.decode(block, raw=True) == [(b"x-b", b"2"), (b"x-c", b"3")]  # every index is one further now


def test_what_cannot_be_decoded_is_a_protocol_error() -> None:
    """Also where a section was known before."""
    ours = SectionDecoder(LARGE)
    for _ in range(2):
        with pytest.raises(CompressionError):
            ours.decode(b"\xff\xff\xff\x7f", raw=True)
    with pytest.raises(ProtocolError, match="too large"):
        SectionDecoder(64).decode(Encoder().encode([(b"x-a", b"v" * 100)]), raw=True)
