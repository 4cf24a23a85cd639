"""HTTP/2 that was in order once: streams, bodies, settings, windows, then changed in a few places and cut anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Encoder
from hypothesis import strategies as st

from tests.fuzz._conversation import Conversation
from tests.support.websocket import frame as ws_frame
from tests.support.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Frames = list[tuple[int, int, int, bytes]]

PATHS = ["/", "/echo", "/hold", "/early", "/large", "/stream", "/trailers", "/?a=b", "*"]
ODD_FIELDS = [
    (b"x-a", b"b"), (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers"), (b"content-length", b"5"),
    (b"content-length", b"0"), (b"Upper", b"1"), (b"connection", b"close"), (b"x a", b"b"), (b"x", b"a\nb"), (b"", b""),
    (b":path", b"/"), (b":status", b"200"), (b"host", b"elsewhere"), (b"x-large", b"y" * 5_000), (b"x-high", b"\xff"),
    (b"expect", b"100-continue"), (b"sec-websocket-extensions", b"permessage-deflate"),
]  # fmt: skip
SETTING_VALUES = [0, 1, 2, 100, 16_383, 16_384, 65_535, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
INCREMENTS = [0, 1, 1_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]
STREAMS = [0, 1, 2, 3, 5, 7, 9, 101, 2**31 - 1, 2**31, 2**31 + 1]

_octets = st.binary(max_size=40)
_body = st.one_of(_octets, st.sampled_from([bytes(1_000), bytes(16_384), bytes(16_385), bytes(60_000)]))


def _number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


@st.composite
def _request(draw: st.DrawFn, encoder: Encoder, stream: int) -> Frames:
    """The frames of one request."""
    path = draw(st.sampled_from(PATHS)).encode()
    kind = draw(st.sampled_from(["GET", "GET", "POST", "POST", "HEAD", "websocket", "CONNECT", "OPTIONS"]))
    fields = [(b":method", kind.encode()), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
    if kind == "websocket":
        fields = [
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            *fields[1:],
            (b"sec-websocket-version", b"13"),
        ]
    elif kind == "CONNECT":
        fields = [fields[0], fields[2]]
    fields += draw(st.lists(st.sampled_from(ODD_FIELDS[:6]), max_size=2))
    if draw(st.integers(0, 4)) == 0:
        fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(ODD_FIELDS)))
    ends = kind in ("GET", "HEAD")
    block = encoder.encode(fields, huffman=draw(st.booleans()))
    flags = END_HEADERS | (END_STREAM if ends else 0)
    frames: Frames = []
    shape = draw(st.sampled_from(["plain", "plain", "padded", "priority", "continued"]))
    if shape == "padded":
        frames.append((HEADERS, flags | PADDED, stream, b"\7" + block + bytes(7)))
    elif shape == "priority":
        frames.append((HEADERS, flags | WITH_PRIORITY, stream, _number(draw(st.sampled_from(STREAMS))) + b"\7" + block))
    elif shape == "continued":
        cut = draw(st.integers(0, len(block)))
        frames += [
            (HEADERS, flags & ~END_HEADERS, stream, block[:cut]),
            (CONTINUATION, 0, stream, b""),
            (CONTINUATION, END_HEADERS, stream, block[cut:]),
        ]
    else:
        frames.append((HEADERS, flags, stream, block))
    if ends:
        return frames
    if kind == "websocket":
        for opcode in draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 9, 10]), max_size=4)):
            frames.append((DATA, 0, stream, ws_frame(opcode, draw(_octets), final=draw(st.booleans()))))
    else:
        frames += [(DATA, 0, stream, body) for body in draw(st.lists(_body, max_size=3))]
    end = draw(st.sampled_from(["data", "trailers", "reset", "open"]))
    if end == "data":
        frames.append((DATA, END_STREAM | PADDED, stream, b"\0"))
    elif end == "trailers":
        frames.append((HEADERS, END_HEADERS | END_STREAM, stream, encoder.encode([draw(st.sampled_from(ODD_FIELDS))])))
    elif end == "reset":
        frames.append((RST_STREAM, 0, stream, _number(8)))
    return frames


_settings = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 9, 0xABCD]), st.sampled_from(SETTING_VALUES)), max_size=3
).map(lambda pairs: b"".join(_number(key, 2) + _number(value) for key, value in pairs))

_stream = st.sampled_from(STREAMS)

_control = st.one_of(
    st.tuples(st.just(PING), st.sampled_from([0, ACK]), st.just(0), st.just(b"12345678")),
    st.tuples(st.just(SETTINGS), st.just(0), st.just(0), _settings),
    st.just((SETTINGS, ACK, 0, b"")),
    st.tuples(st.just(WINDOW_UPDATE), st.just(0), _stream, st.sampled_from(INCREMENTS).map(_number)),
    st.tuples(st.just(PRIORITY), st.just(0), _stream, _stream.map(lambda on: _number(on) + b"\7")),
    st.tuples(st.just(RST_STREAM), st.just(0), _stream, st.sampled_from([0, 8, 99]).map(_number)),
    st.tuples(st.just(GOAWAY), st.just(0), st.just(0), _octets.map(lambda debug: bytes(8) + debug)),
    st.tuples(st.sampled_from([PUSH_PROMISE, 10, 12, 0xFF]), st.integers(0, 255), _stream, _octets),
    st.tuples(st.sampled_from(range(10)), st.integers(0, 255), _stream, _octets),
)


def _flip(frame: tuple, at: int, value: int) -> tuple:
    kind, flags, stream, payload = frame
    if not payload:
        return frame
    at %= len(payload)
    return kind, flags, stream, payload[:at] + bytes([payload[at] ^ (value or 1)]) + payload[at + 1 :]


CHANGES: dict[str, Callable[[Frames, int, int, int], object]] = {
    "type": lambda frames, at, _, value: frames.__setitem__(at, (value % 12, *frames[at][1:])),
    "flags": lambda frames, at, _, value: frames.__setitem__(at, (frames[at][0], value, *frames[at][2:])),
    "stream": lambda frames, at, _, value: frames.__setitem__(
        at, (*frames[at][:2], STREAMS[value % len(STREAMS)], frames[at][3])
    ),
    "octet": lambda frames, at, where, value: frames.__setitem__(at, _flip(frames[at], where, value)),
    "shorter": lambda frames, at, where, _: frames.__setitem__(
        at, (*frames[at][:3], frames[at][3][: where % (len(frames[at][3]) + 1)])
    ),
    "longer": lambda frames, at, where, _: frames.__setitem__(
        at, (*frames[at][:3], frames[at][3] + bytes(where % 20_000))
    ),
    "twice": lambda frames, at, _, value: frames.__setitem__(slice(at, at), [frames[at]] * (1 + value % 50)),
    "never": lambda frames, at, _, __: frames.pop(at) if len(frames) > 1 else None,
    "elsewhere": lambda frames, at, where, _: frames.insert(where % len(frames), frames.pop(at)),
}
"""What may happen to the frame at `at`: the other two numbers say where and how."""


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A conversation over HTTP/2."""
    encoder = Encoder()
    frames: Frames = []
    for number in range(draw(st.integers(1, 4))):
        frames += draw(_request(encoder, 2 * number + 1))
    for control in draw(st.lists(_control, max_size=3)):
        frames.insert(draw(st.integers(0, len(frames))), control)
    frames.insert(0, (SETTINGS, 0, 0, draw(_settings)))
    for change in draw(st.lists(st.sampled_from(list(CHANGES)), max_size=3)):
        at = draw(st.integers(0, len(frames) - 1))
        CHANGES[change](frames, at, draw(st.integers(0, 70_000)), draw(st.integers(0, 255)))
    parts = [raw(kind, flags, stream, payload) for kind, flags, stream, payload in frames]
    if draw(st.integers(0, 9)) == 0:  # a length that lies
        at = draw(st.integers(0, len(parts) - 1))
        parts[at] = _number(draw(st.integers(0, 2**24 - 1)), 3) + parts[at][3:]
    preface = PREFACE
    if draw(st.integers(0, 29)) == 0:
        preface = draw(st.sampled_from([b"", PREFACE[:-1], b"GET / HTTP/1.1\r\n\r\n", PREFACE * 2]))
    return cut(draw, "h2", [preface, *parts])


def cut(draw: st.DrawFn, alpn: str, parts: list[bytes], *, sound: bool = False) -> Conversation:
    """The parts in pieces: as they are, in one, or cut anywhere."""
    how = draw(st.sampled_from(["parts", "one", "anywhere"]))
    pieces = parts
    if how != "parts":
        whole = b"".join(parts)
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8))) if how == "anywhere" else []
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    end = draw(st.sampled_from(["fin", "fin", "goodbye", "vanish"]))
    return Conversation(alpn, tuple(piece for piece in pieces if piece), end, sound)
