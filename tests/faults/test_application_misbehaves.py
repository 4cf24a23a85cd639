"""An application that raises, stops half-way or sends nonsense fails its own request, as such, and no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.server import eventually
from tests.support.wire import data

if TYPE_CHECKING:
    from tests.support.server import Server
    from tests.support.wire import Reply

INTERNAL_ERROR = 2
BOTH = pytest.mark.parametrize("over", ["h1", "h2"])


@pytest.fixture
def server(rude_server: Server) -> Server:
    return rude_server


def ask(server: Server, over: str, path: str, method: str = "GET", more: tuple[tuple[str, str], ...] = ()) -> Reply:
    """One request; over HTTP/2 beside another one on the same connection, which must not suffer."""
    if over == "h1":
        with server.h1() as line:
            return line.get(path, method, more="".join(f"{name}: {value}\r\n" for name, value in more))
    with server.h2() as wire:
        beside = wire.open("/stream")
        reply = wire.get(path, method, more=more)
        assert wire.reply(beside).body == b"0;1;2;3;4;"
        assert wire.get().status == 200
        assert not wire.goaways
        return reply


@BOTH
@pytest.mark.parametrize("path", ["/raise-before", "/no-answer", "/out-of-order"])
def test_no_answer_is_a_500(server: Server, over: str, path: str) -> None:
    """Raised before the response, nothing sent at all, a body before its head: 500, whole and empty."""
    reply = ask(server, over, path)
    assert (reply.status, bytes(reply.body), reply.whole) == (500, b"", True)


@BOTH
@pytest.mark.parametrize("path", ["/raise-before", "/raise-middle", "/wrong-type"])
def test_exception_is_logged_once(server: Server, over: str, path: str) -> None:
    """With its traceback: it is the programmer's to read."""
    before = server.log_end()
    ask(server, over, path)
    server.logged("Error in ASGI Framework", before)
    assert server.log(before).count("Traceback") == 1


def test_exception_behind_the_start_is_a_500(server: Server) -> None:
    """Over HTTP/2 nothing has left before the first byte of the body, so that an error can still be told."""
    assert ask(server, "h2", "/raise-after-start").status == 500


@BOTH
@pytest.mark.parametrize("path", ["/raise-middle", "/raise-middle?chunked=1", "/half-answer"])
def test_half_a_response_is_never_taken_for_a_whole_one(server: Server, over: str, path: str) -> None:
    """HTTP/2: the stream is reset with INTERNAL_ERROR. HTTP/1.1: the connection ends before the body does."""
    reply = ask(server, over, path)
    assert not reply.whole
    assert reply.status in {200, None}  # the reset may replace what had not left yet
    assert bytes(reply.body) in {b"half", b""}
    assert reply.reset == (INTERNAL_ERROR if over == "h2" else None)


def test_half_a_response_to_http10_ends_without_close_notify(server: Server) -> None:
    """An HTTP/1.0 client knows the end of a body by the end of the connection alone: it must not look like one."""
    with server.h1() as line:
        line.send_bytes(b"GET /raise-middle?chunked=1 HTTP/1.0\r\nhost: localhost\r\n\r\n")
        assert line.ending() != "close_notify"
        assert line.left.endswith(b"half")


@BOTH
@pytest.mark.parametrize(
    "kind", ["value-crlf", "value-lf", "value-nul", "name-crlf", "name-blank", "name-empty", "pseudo"]
)
def test_bad_field_is_not_sent(server: Server, over: str, kind: str) -> None:
    """No field of an application splits a response: it gets the error, the client a 500."""
    reply = ask(server, over, f"/bad-field?kind={kind}")
    assert reply.status == 500
    assert not {"set-cookie", "x-a", "x-c"} & set(reply.headers)


@BOTH
def test_untidy_fields_are_tidied(server: Server, over: str) -> None:
    """Upper-case names and padded values are mended; what speaks of the connection is dropped from HTTP/2."""
    reply = ask(server, over, "/upper-case")
    assert reply.status == 200
    assert reply.headers["x-upper"] == "padded"
    if over == "h2":
        assert not {"keep-alive", "upgrade"} & set(reply.headers)


@BOTH
@pytest.mark.parametrize("code", ["-1", "0", "42", "99", "100", "101", "103", "199", "1000", "70000"])
def test_status_out_of_range(server: Server, over: str, code: str) -> None:
    """A status that is none, or no final one, is the application's error."""
    reply = ask(server, over, f"/status?s={code}")
    assert reply.status in {500, None}, "a 500, or an end without a response"
    if over == "h2":
        assert reply.status == 500


@BOTH
@pytest.mark.parametrize("path", ["/twice", "/wrong-type"])
def test_messages_out_of_place(server: Server, over: str, path: str) -> None:
    """A second response is refused; text where bytes belong as well."""
    reply = ask(server, over, path)
    if path == "/twice":
        assert (reply.status, reply.body, reply.whole) == (200, b"ok", True)
    else:
        assert reply.status == 500 or not reply.whole


@BOTH
def test_two_tasks_send(server: Server, over: str) -> None:
    """Two tasks that send on one response both come to their end."""
    reply = ask(server, over, "/two-senders")
    assert reply.whole
    assert sorted(reply.body) == sorted(b"a" * 1_000_000 + b"b" * 1_000_000)


@BOTH
def test_endless_response_ends_with_its_client(server: Server, over: str, tag: str) -> None:
    """An application that only ever sends gets OSError when nobody is there, and the event loop is not held up."""
    path = f"/endless?tag={tag}"
    if over == "h1":
        lines = [server.h1() for _ in range(4)]
        for line in lines:
            line.send_bytes(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            line.recv()
        lines[0].close()
        lines[1].vanish()
        lines[2].sock.shutdown(socket.SHUT_WR)
        lines[2].close()
        lines[3].close()
    else:
        wires = [server.h2() for _ in range(4)]
        for wire in wires:
            wire.open(path)
        eventually(lambda: server.stats(tag)["active"] == 4)
        wires[0].close()
        for wire in wires[1:]:
            wire.vanish()
    eventually(lambda: server.stats(tag)["active"] == 0)
    assert server.stats(tag)["ended"] == {"OSError": 4}


@BOTH
def test_waiting_application_hears_of_its_clients_end(server: Server, over: str, tag: str) -> None:
    """Who waits in receive() is given http.disconnect."""
    if over == "h1":
        with server.h1() as line:
            line.send_bytes(f"GET /hold?tag={tag} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            eventually(lambda: server.stats(tag)["active"] == 1)
    else:
        with server.h2() as wire:
            wire.open(f"/hold?tag={tag}")
            eventually(lambda: server.stats(tag)["active"] == 1)
    eventually(lambda: server.stats(tag)["active"] == 0)
    assert server.stats(tag)["ended"] == {"http.disconnect": 1}


# Not faults of an application, but what servers get wrong.


@BOTH
def test_head(server: Server, over: str) -> None:
    """The response to HEAD has its fields and no body."""
    reply = ask(server, over, "/status?s=200", "HEAD")
    assert (reply.status, reply.headers["content-length"], bytes(reply.body), reply.whole) == (200, "5", b"", True)


@BOTH
@pytest.mark.parametrize("code", ["204", "304"])
def test_status_without_a_body(server: Server, over: str, code: str) -> None:
    """Nor have 204 and 304, whatever the application says."""
    reply = ask(server, over, f"/status?s={code}")
    assert (reply.status, bytes(reply.body), reply.whole) == (int(code), b"", True)


@BOTH
def test_connection_goes_on_behind_responses_without_a_body(server: Server, over: str) -> None:
    """The next response on the connection is not taken for their body."""
    if over == "h1":
        with server.h1() as line:
            for path, method in [("/status?s=204", "GET"), ("/status?s=304", "GET"), ("/down?n=70000", "HEAD")] * 3:
                assert line.get(path, method).whole
                assert line.get().body == b"ok"
    else:
        with server.h2() as wire:
            for path, method in [("/status?s=204", "GET"), ("/status?s=304", "GET"), ("/down?n=70000", "HEAD")] * 3:
                assert wire.get(path, method).whole
                assert wire.get().body == b"ok"


@BOTH
def test_streaming_response(server: Server, over: str) -> None:
    """What is sent in pieces leaves in pieces, as it is made."""
    assert ask(server, over, "/stream").body == b"0;1;2;3;4;"


def test_trailers(server: Server) -> None:
    """Trailers in two messages leave as one HEADERS frame with END_STREAM."""
    reply = ask(server, "h2", "/trailers", more=(("te", "trailers"),))
    assert (reply.body, reply.trailers, reply.whole) == (b"body", {"x-sum": "1", "x-end": "2"}, True)


def test_trailers_only(server: Server) -> None:
    """A response of one HEADERS frame with END_STREAM: what gRPC calls so."""
    reply = ask(server, "h2", "/trailers-only")
    assert (reply.frames, reply.headers["grpc-status"], reply.whole) == (1, "12", True)


def test_early_hints(server: Server) -> None:
    """103 comes ahead of the response."""
    reply = ask(server, "h2", "/hints")
    assert [(status, fields["link"]) for status, fields in reply.informational] == [(103, "</style.css>; rel=preload")]
    assert reply.status == 200


def test_connect_without_a_protocol(server: Server, tag: str) -> None:
    """We are no proxy: CONNECT to a host is refused, and CONNECT to another protocol as well."""
    with server.h2() as wire:
        plain = wire.fields([(":method", "CONNECT"), (":authority", "elsewhere:443")], end=False)
        other = wire.fields(
            [
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", f"/?tag={tag}"),
            ],
            end=False,
        )
        wire.send(plain, other, data(plain.stream_id, b"hello"))
        assert wire.reply(plain.stream_id).status in {405, 501}
        assert wire.reply(other.stream_id).status in {405, 501}
        assert wire.get().status == 200
    assert server.stats(tag)["seen"] == 0
