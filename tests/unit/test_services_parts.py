"""The small parts of the server, each by itself."""

from __future__ import annotations

import contextvars
import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.identity import Identity
from services.greeter.service import InvalidGreetingError, greet
from services.loading import AppNotFoundError, load_app
from services.logs import printable
from services.peer import NoPeerError, Peer, bind_peer, current_peer
from services.transport.budget import Budget
from services.transport.extension import tls_extension
from services.transport.fields import UnsendableFieldError, date, is_method, sendable
from services.transport.sockets import Address, BindError, listen
from services.whoami.service import describe

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE = Identity(
    name="alice@example.com",
    kind="email",
    emails=("alice@example.com",),
    uris=(),
    dns_names=(),
    serial="1f",
    sha256="ab" * 32,
    not_before=NOW,
    not_after=NOW,
    issuer="CN=Test CA",
)
PEER = Peer(
    identity=ALICE,
    subject="CN=alice",
    chain=("leaf", "anchor"),
    tls_version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    group="X25519MLKEM768",
    alpn="h2",
    address=("127.0.0.1", 50000),
    generation=1,
)


def test_nobody_calls_outside_a_request() -> None:
    """`current_peer()` raises rather than to answer with somebody."""
    with pytest.raises(NoPeerError):
        contextvars.Context().run(current_peer)


def test_the_peer_is_the_contexts() -> None:
    context = contextvars.Context()
    context.run(bind_peer, PEER)
    assert context.run(current_peer) is PEER
    assert str(PEER) == "alice@example.com"
    with pytest.raises(NoPeerError):
        contextvars.Context().run(current_peer)


@pytest.mark.parametrize("greeting", ["", "x" * 101, "a\nb", "\x1b[31m", "\u202e"])
def test_a_greeting_is_short_and_printable(greeting: str) -> None:
    assert greet(ALICE, "Hi") == "Hi alice@example.com!"
    with pytest.raises(InvalidGreetingError):
        greet(ALICE, greeting)


def test_whoami_tells_it_all() -> None:
    told = describe(PEER, "2")
    assert told["not_after"] == "2026-11-23T12:00:00Z"
    assert told["group"] == "X25519MLKEM768"
    assert list(told)[:3] == ["name", "kind", "emails"]


def test_the_extension_has_numbers_of_iana() -> None:
    extension = tls_extension(PEER, "server")
    assert extension["server_cert"] == "server"
    assert (extension["client_cert_name"], extension["client_cert_error"]) == ("CN=alice", None)
    assert (extension["tls_version"], extension["cipher_suite"]) == (0x0304, 0x1302)
    assert extension["client_cert_chain"] == ["leaf", "anchor"]


FIELDS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=4)


@pytest.mark.parametrize(
    ("name", "is_one"), [(b"GET", True), (b"M-SEARCH", True), (b"", False), (b"G T", False), (b"G\n", False)]
)
def test_a_method_is_a_token(name: bytes, is_one: bool) -> None:
    assert is_method(name) is is_one


@given(FIELDS)
def test_no_field_breaks_a_message(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever an application sends: lower case, no line break, no pseudo-header, or an error."""
    try:
        sent = sendable(fields)
    except UnsendableFieldError:
        return
    for name, value in sent:
        assert name
        assert name == name.lower()
        assert not name.startswith(b":")
        assert not set(name) & set(b" \r\n\0:")
        assert not set(value) & set(b"\r\n\0")


@pytest.mark.parametrize("field", [(b":status", b"200"), (b"x", b"a\r\nb"), (b"a b", b""), (b"", b""), (b"x", b"\0")])
def test_an_unfit_field_is_an_error(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(UnsendableFieldError):
        sendable([field])


def test_fields_of_http_1_connections_are_dropped() -> None:
    """RFC 9113 section 8.2.2."""
    assert sendable([(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"X", b" y ")]) == [(b"x", b"y")]


def test_the_date_is_http_s() -> None:
    name, value = date()
    assert name == b"date"
    assert value.endswith(b" GMT")


def test_a_budget_bursts_and_recovers() -> None:
    budget = Budget(burst=3, rate=2)
    assert [budget.spend(10.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend(11.0)
    assert not budget.spend(11.0)


@given(st.binary())
def test_nothing_from_the_network_leaves_its_log_line(raw: bytes) -> None:
    text = printable(raw)
    assert text.isprintable()
    assert " " not in text


@pytest.mark.parametrize(
    ("text", "host", "port"), [("localhost:8443", "localhost", 8443), ("[::1]:0", "::1", 0), ("::1:80", "::1", 80)]
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["", "8443", ":8443", "localhost:", "localhost:http", "localhost:65536", "localhost:-1"]
)
def test_an_address_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(BindError):
        Address.parse(text)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
def test_localhost_is_both_loopbacks_with_one_port(name: str) -> None:
    """`localhost:0` is one port for IPv4 and IPv6, though /etc/hosts may have the one alone."""
    sockets = listen(Address(name, 0))
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert {sock.getsockname()[0] for sock in sockets} == ({"127.0.0.1", "::1"} if _ipv6() else {"127.0.0.1"})
    finally:
        for sock in sockets:
            sock.close()


def _ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BindError, match="another program"):
        listen(Address("127.0.0.1", taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nomodule", "names no application"),
        ("nowhere.at_all:app", "no module 'nowhere'"),
        ("services.app:nothing", "no attribute 'nothing'"),
        ("services.settings:GREETER", "not an application"),
        (":app", "names no application"),
    ],
)
def test_an_application_that_is_not_there(name: str, words: str) -> None:
    with pytest.raises(AppNotFoundError, match=words):
        load_app(name)


def test_an_error_inside_an_application_s_module_is_its_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programmer needs the traceback: it is not taken for a missing module."""
    (tmp_path / "broken_app.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError):
        load_app("broken_app:app")
