"""Fields by which a proxy would say who is calling never reach the application; requests for other hosts neither."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import HeadersFrame

from tests.support.trust import Trusting, trusting
from tests.support.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = [
    ("x-forwarded-client-cert", "By=spiffe://evil;Hash=00"),
    ("client-cert", ":MIIB:"),
    ("client-cert-chain", ":MIIB:"),
    ("x-ssl-client-verify", "SUCCESS"),
    ("x-ssl-cert", "MIIB"),
    ("x-client-cert", "MIIB"),
    ("x-client-dn", "CN=root"),
    ("x_forwarded_client_cert", "MIIB"),
    ("x_ssl_client_dn", "CN=root"),
    ("client_cert", "MIIB"),
    ("x_forwarded-client_cert", "MIIB"),
    ("x-ssl_client-s-dn", "CN=root"),
    ("x_client-verify", "SUCCESS"),
    ("client-cert_chain", ":MIIB:"),
    ("client-cert", ":once more:"),
]
KEPT = [("x-forwarded-for", "192.0.2.1"), ("x-request-id", "7"), ("client-hints", "ok"), ("x-sslish", "ok")]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    options = ("--server-name", "localhost", "--server-name", "Shop.Example.com", "--server-name", "[::1]")
    with trusting(tmp_path_factory.mktemp("fields"), *options) as made:
        yield made


def as_lines(fields: list[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in fields)


@pytest.mark.parametrize("over", ["h1", "h1 in capitals", "h2"])
def test_forged_fields_are_stripped(there: Trusting, over: str) -> None:
    """Each spelling, `_` for `-` as well, since CGI and WSGI make one variable of both; all others arrive."""
    client = there.client("quinn")
    if over == "h2":
        with client.h2() as wire:
            seen = json.loads(wire.get("/told", more=[*FORGED, *KEPT]).body)
    else:
        forged = [(name.upper(), value) for name, value in FORGED] if over.endswith("capitals") else FORGED
        with client.h1() as line:
            seen = json.loads(line.get("/told", more=as_lines([*forged, *KEPT])).body)
    names = {name for name, _ in seen["headers"]}
    assert not names & {name for name, _ in FORGED}
    assert names >= {name for name, _ in KEPT}
    assert seen["identity"] == "quinn@example.com"


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_forged_fields_of_a_websocket(there: Trusting, over: str) -> None:
    client = there.client("quinn")
    with WebSocket(client, over, "/ws-told", more=(*FORGED, *KEPT)) as websocket:  # type: ignore[arg-type]
        seen = json.loads(websocket.accepted().receive() or "")
    names = {name for name, _ in seen["headers"]}
    assert not names & {name for name, _ in FORGED}
    assert names >= {name for name, _ in KEPT}


def test_forged_trailers(there: Trusting) -> None:
    """Behind the body, on either version: ASGI knows of no trailers in a request, and none becomes a field."""
    client = there.client("quinn")
    with client.h2() as wire:
        stream = wire.open("/told", "POST", end=False, more=[("trailer", "client-cert")])
        wire.say(stream, b"body")
        wire.send(HeadersFrame(stream, wire.encoder.encode(FORGED), flags=["END_HEADERS", "END_STREAM"]))
        over_h2 = json.loads(wire.reply(stream).body)
    with client.h1() as line:
        head = "POST /told HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntrailer: client-cert\r\n\r\n"
        line.send_bytes(f"{head}4\r\nbody\r\n0\r\n{as_lines(FORGED)}\r\n".encode())
        over_h1 = json.loads(line.reply("POST").body)
    for seen in (over_h1, over_h2):
        assert not {name for name, _ in seen["headers"]} & {name for name, _ in FORGED}
        assert seen["identity"] == "quinn@example.com"


OURS = ["localhost", "LOCALHOST", "localhost:8443", "localhost.", "shop.example.com", "SHOP.example.COM:443", "[::1]:1"]
OTHERS = [
    "evil.example.com",
    "localhost.evil.example.com",
    "127.0.0.1",
    "example.com",
    "shop.example.com.evil",
    "[::2]",
]


@pytest.mark.parametrize("host", OURS)
def test_our_hosts_are_served(there: Trusting, host: str) -> None:
    client = there.client("quinn")
    with client.h1() as line, client.h2() as wire:
        line.send_bytes(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert line.reply().status == 200
        assert wire.get("/", authority=host).status == 200


@pytest.mark.parametrize("host", OTHERS)
def test_other_hosts_are_misdirected(there: Trusting, host: str) -> None:
    """421 (RFC 9110 15.5.20), on both protocols; the application does not hear of it."""
    client = there.client("quinn")
    with client.h1() as line, client.h2() as wire:
        line.send_bytes(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert line.reply().status == 421
        assert wire.get("/", authority=host).status == 421
        assert wire.get("/").status == 200, "the connection goes on"
    there.audited("request.refused", status=421, identity="quinn@example.com")


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_websockets_to_other_hosts(there: Trusting, over: str) -> None:
    """421 in the handshake's answer, written down like another."""
    client = there.client(f"rita-{over}")
    with WebSocket(client, over, "/ws-told", host="evil.example.com") as websocket:  # type: ignore[arg-type]
        assert websocket.answer().status == 421
    there.audited("request.refused", status=421, identity=f"rita-{over}@example.com")


def test_no_host_at_all(there: Trusting) -> None:
    """HTTP/1.0 may come without: it is not ours."""
    with there.client("quinn").h1() as line:
        line.send_bytes(b"GET / HTTP/1.0\r\n\r\n")
        assert line.reply().status == 421


def test_a_whole_uri_names_the_host(there: Trusting) -> None:
    """Absolute-form: its authority speaks, whatever the Host field says (RFC 9112 section 3.2.2)."""
    client = there.client("quinn")
    with client.h1() as line:
        line.send_bytes(b"GET https://shop.example.com/told HTTP/1.1\r\nhost: evil.example.com\r\n\r\n")
        reply = line.reply()
    assert reply.status == 200
    hosts = [value for name, value in json.loads(reply.body)["headers"] if name == "host"]
    assert hosts == ["shop.example.com"]
    for target in ("https://evil.example.com/told", "http://localhost/told"):
        with client.h1() as line:
            assert line.get(target).status == 421
