"""The load counts right answers alone: whatever else comes ends the run."""

from __future__ import annotations

import pytest
from hpack import Encoder

from tests.bench.figures import QUICK, Comparison, Sample
from tests.bench.load.http1 import HTTP1Conversation
from tests.bench.load.http2 import HTTP2Conversation, frame
from tests.bench.load.outcome import Outcome, WrongAnswerError
from tests.bench.servers import OURS, STOCK

BODY = b"Hello alice@example.com!"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n"
DATA, HEADERS = 0, 1
END_STREAM, END_HEADERS = 0x1, 0x4


def answers(encoder: Encoder, stream: int, *, status: bytes = b"200", body: bytes = BODY, date: bytes = b"0") -> bytes:
    fields = [(b":status", status), (b"content-length", b"%d" % len(BODY)), (b"date", date)]
    return frame(HEADERS, END_HEADERS, stream, encoder.encode(fields)) + frame(DATA, END_STREAM, stream, body)


@pytest.fixture
def http2() -> HTTP2Conversation:
    conversation = HTTP2Conversation(BODY, 2)
    conversation.begin()
    conversation.ask()
    return conversation


def test_http2_counts_answers_and_asks_again(http2: HTTP2Conversation) -> None:
    """Each answer is followed by the next stream; an answer in pieces is one answer."""
    encoder = Encoder()
    wire = b"".join(answers(encoder, stream, date=b"%d" % (stream // 3)) for stream in range(1, 41, 2))
    sent = [http2.received(wire[at : at + 7]) for at in range(0, len(wire), 7)]
    assert http2.answered == 20
    assert http2.in_flight == 2
    assert b"".join(sent).count(b"\x82\x87\x84\xbf\xbe") == 20


def test_http2_sees_a_status_that_changes_behind_the_same_bytes(http2: HTTP2Conversation) -> None:
    """A block that was good means another thing once the dynamic table has changed: it is decoded again."""
    encoder = Encoder()
    for stream in (1, 3, 5):
        http2.received(answers(encoder, stream))
    with pytest.raises(WrongAnswerError, match="503"):
        http2.received(answers(encoder, 7, status=b"503"))


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (answers(Encoder(), 1, status=b"500"), "status"),
        (answers(Encoder(), 1, body=b"Hello guest@example.com!"), "body"),
        (answers(Encoder(), 1, body=BODY[:-1]), "body"),
        (answers(Encoder(), 9), "nobody waits"),
        (frame(DATA, END_STREAM, 1, BODY), "nobody waits"),
        (frame(3, 0, 1, (8).to_bytes(4, "big")), "reset with code 8"),
        (frame(7, 0, 0, (1).to_bytes(4, "big") + (11).to_bytes(4, "big")), "GOAWAY with code 11"),
    ],
)
def test_http2_refuses_what_is_not_the_answer(http2: HTTP2Conversation, wire: bytes, reason: str) -> None:
    """Another status or body, a reset, a GOAWAY, an answer to nothing: each voids the run."""
    with pytest.raises(WrongAnswerError, match=reason):
        http2.received(wire)


def test_http1_counts_answers_and_asks_again() -> None:
    """An answer in pieces is one answer, and the last one is not followed by a request."""
    conversation = HTTP1Conversation(BODY)
    request = conversation.ask()
    assert [conversation.received(part) for part in (HEAD[:20], HEAD[20:], BODY[:5], BODY[5:])] == [
        b"",
        b"",
        b"",
        request,
    ]
    conversation.refill = False
    assert conversation.received(HEAD + BODY) == b""
    assert (conversation.answered, conversation.in_flight) == (2, 0)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (HEAD.replace(b"200", b"500") + BODY, "begins"),
        (HEAD + BODY.swapcase(), "body"),
        (HEAD.replace(b"24", b"25") + BODY, "content-length"),
        (HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + BODY, "close"),
        (HEAD + BODY + HEAD, "body"),
    ],
)
def test_http1_refuses_what_is_not_the_answer(wire: bytes, reason: str) -> None:
    """Another status, length or body, a server that says goodbye, bytes that nobody asked for: each voids the run."""
    conversation = HTTP1Conversation(BODY)
    conversation.ask()
    with pytest.raises(WrongAnswerError, match=reason):
        conversation.received(wire)


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    """A round in which the whole machine was slow counts like the others."""
    comparison = Comparison(QUICK[0])
    for ours, stock in ((200.0, 100.0), (20.0, 10.0), (330.0, 110.0)):
        comparison.add(OURS, Sample(ours, ours))
        comparison.add(STOCK, Sample(stock, stock))
    assert comparison.ratio(STOCK).median == 2.0
    assert comparison.spread(OURS).low == 20.0


def test_an_outcome_survives_the_pipe() -> None:
    """What the load writes is what the rounds read."""
    outcome = Outcome(100, 0.5, 0.25, 0.5, tls="TLSv1.3")
    assert Outcome.parse(outcome.to_json()) == outcome
    assert (outcome.rate, outcome.rate_of_cpu, outcome.load_share) == (200, 200, 0.5)
