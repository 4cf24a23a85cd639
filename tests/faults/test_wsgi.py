"""WSGI applications: whole answers to whole requests, over both protocols, and nobody waits for them but who asked."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from services.transport.wsgi import MAX_BODY
from tests.support.server import eventually
from tests.support.trust import Trusting, trusting
from tests.support.wire import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.trust import Client
    from tests.support.wire import Wire
    from tests.support.wire1 import Line1


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("wsgi"), app="tests.faults._wsgi_app:app") as there:
        yield there


@pytest.fixture(scope="module")
def tom(there: Trusting) -> Client:
    return there.client("tom")


@pytest.fixture(params=["http/1.1", "h2"])
def line(request: pytest.FixtureRequest, tom: Client) -> Iterator[Line1 | Wire]:
    with tom.h1() if request.param == "http/1.1" else tom.h2() as line:
        yield line


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/peer", 200, b"tom@example.com"),
        ("HEAD", "/peer", 200, b""),
        ("GET", "/204", 204, b""),
        ("GET", "/304", 304, b""),
        ("GET", "/empty", 200, b""),
        ("HEAD", "/empty", 200, b""),
        ("OPTIONS", "/empty", 200, b""),
        ("GET", "/pieces", 200, b"one two"),
        ("GET", "/write", 200, b"written returned"),
        ("GET", "/late", 201, b"late"),
        ("GET", "/changed", 500, b"sorry"),
    ],
)
def test_an_answer_is_what_the_application_says(
    line: Line1 | Wire, method: str, path: str, status: int, body: bytes
) -> None:
    """With a body or without: and the connection goes on."""
    reply = line.get(path, method)
    assert (reply.status, bytes(reply.body)) == (status, body)
    assert line.get("/peer").status == 200


@pytest.mark.parametrize("over", ["http/1.1", "h2"])
def test_an_application_that_breaks_the_rules(tmp_path: Path, over: str) -> None:
    """500, or an answer that does not look whole; the reason is in the log, and the server goes on."""
    there = Trusting(tmp_path, app="tests.faults._wsgi_app:app")
    try:
        tom = there.client("tom")
        for path, reason in (
            ("/silent", "the application did not call start_response"),
            ("/twice", "the application called start_response twice"),
            ("/status", "the application's status is not like '200 OK': '200'"),
        ):
            with tom.h1() if over == "http/1.1" else tom.h2() as line:
                assert line.get(path).status == 500
            there.server.logged(reason)
        with tom.h1() if over == "http/1.1" else tom.h2() as line:
            assert not line.get("/midway").whole
        there.server.logged("RuntimeError: midway")
        with tom.h1() as line:
            assert line.get("/peer").status == 200
    finally:
        there.stop()


def test_a_body_without_a_length_is_read(tom: Client) -> None:
    """HTTP/2 needs none, and neither does a chunked one: `wsgi.input_terminated`."""
    with tom.h1() as line:
        chunks = b"5\r\nhello\r\n" * 3 + b"0\r\n\r\n"
        line.send_bytes(b"POST /length HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
        assert bytes(line.reply("POST").body) == b"15"


def test_a_body_that_is_too_large_is_413(tom: Client) -> None:
    with tom.h1() as line:
        head = f"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n"
        line.send_bytes(head.encode())
        sender = threading.Thread(target=_send, args=(line, MAX_BODY + 1))
        sender.start()
        assert line.reply("POST", timeout=20).status == 413
        sender.join()


def _send(line: Line1, size: int) -> None:
    try:
        for _ in range(size // 2**16):
            line.send_bytes(bytes(2**16))
        line.send_bytes(bytes(size % 2**16))
    except (Ended, OSError):
        pass  # it is told before the end, and may be closed upon


def test_half_a_request_reaches_no_application(there: Trusting, tom: Client) -> None:
    """An upload that was cut off is not a shorter one."""
    with tom.h1() as line:
        line.send_bytes(b"POST /half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf")
    with tom.h1() as line:
        line.send_bytes(b"POST /half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nhalf")
        assert line.reply("POST").status == 404
        assert bytes(line.get("/called?/half").body) == b"1"


def test_slow_requests_delay_no_revocation(there: Trusting, tom: Client) -> None:
    """As many as the machine's default executor has threads, and more: trust changes meanwhile."""
    mallory = there.client("mallory")
    with tom.h2() as slow, mallory.h1() as line:
        assert line.get("/peer").status == 200
        sleeping = threading.Thread(target=_sleep, args=(slow, 20, 3))
        sleeping.start()
        time.sleep(0.5)
        begun = there.revoke(mallory)
        eventually(lambda: bool(there.audited("connection.cut", identity="mallory@example.com")), 2.5)
        assert sleeping.is_alive(), f"cut only after {time.monotonic() - begun:.1f} s"
        sleeping.join()


def _sleep(wire: Wire, streams: int, seconds: int) -> None:
    for _ in range(streams):
        wire.open(f"/slow?{seconds}")
    time.sleep(seconds)
