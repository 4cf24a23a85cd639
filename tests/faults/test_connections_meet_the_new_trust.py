"""Trust that ends by itself or is replaced: expiry, an authority that is dropped, a server certificate that is new."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.trust import Trusting, trusting
from tests.support.websocket import WebSocket
from tests.support.wire import NO_ERROR, Ended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("trust"), TZ="Pacific/Kiritimati") as made:  # its clock says tomorrow
        yield made


def pem(*issuers: Issuer) -> bytes:
    return b"".join(issuer.certificate.public_bytes(Encoding.PEM) for issuer in issuers)


def test_a_certificate_expires_while_its_client_is_connected(there: Trusting) -> None:
    """Busy or idle, HTTP/1.1, HTTP/2 or WebSocket: the connection ends with the certificate, within a second."""
    carol = there.client("carol", valid_for=timedelta(seconds=64))  # from a minute ago
    ends = carol.issued.certificate.not_valid_after_utc.timestamp()
    with carol.h1() as idle, carol.h2() as busy, WebSocket(carol, "h2", "/ws-echo") as websocket:  # type: ignore[arg-type]
        websocket.accepted()
        assert idle.get().status == 200
        held = busy.open("/hold")
        assert websocket.receive() == 1008
        assert busy.reply(held).status == 401
        assert idle.ending()
        assert -0.1 < time.time() - ends < 2.0
    there.audited("connection.cut", identity="carol@example.com", reason="its certificate has expired")


def test_an_authority_that_is_dropped_takes_its_clients_along(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With both in the bundle both talk; with one left, the other's clients are cut and refused, the first's stay."""
    with trusting(tmp_path_factory.mktemp("dropped")) as there:
        other = Issuer("The other CA")
        there.put("ca.crt", pem(there.issuer, other))
        after = there.server.log_end()
        there.server.logged("reloaded", 0)
        dave, erin = there.client("dave", issuer=other), there.client("erin")
        with dave.h2() as going, erin.h2() as staying:
            assert going.get().status == staying.get().status == 200
            there.put("ca.crt", pem(there.issuer))
            there.taken_up(after)
            going.ending()
            assert staying.get().status == 200
            assert not staying.goaways
        there.audited("connection.cut", identity="dave@example.com", reason="its authority is no longer trusted")
        assert "unknown" in dave.refusal().lower()


def test_a_new_server_certificate_disturbs_nobody(there: Trusting) -> None:
    """Without `--recycle-after` open connections stay; new ones meet the new certificate."""
    frank = there.client("frank")
    with frank.h2() as old, frank.h1() as line:
        before = old.sock.getpeercert(binary_form=True)
        after = there.server.log_end()
        there.put_pair(there.issue_server())
        there.taken_up(after)
        assert old.get().status == line.get().status == 200
        assert not old.goaways
        with frank.h2() as new:
            assert new.sock.getpeercert(binary_form=True) != before


def test_recycling_drains_without_losing_a_request(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`--recycle-after`: GOAWAY that refuses nothing, `Connection: close`, close 1001; what is in flight ends well."""
    with trusting(tmp_path_factory.mktemp("recycle"), "--recycle-after", "1s", "--drain-timeout", "20s") as there:
        grace = there.client("grace")
        with grace.h2() as wire, grace.h1() as idle, grace.h1() as busy, WebSocket(grace, "h1", "/ws-echo") as socket:  # type: ignore[arg-type]
            socket.accepted()
            assert idle.get().status == 200
            held = wire.open("/gate?tag=recycle")
            busy.send_bytes(b"GET /gate?tag=recycle HTTP/1.1\r\nhost: localhost\r\n\r\n")
            time.sleep(0.2)
            there.put_pair(there.issue_server())
            wire.until(lambda: bool(wire.goaways))
            assert wire.goaways[0] == (2**31 - 1, NO_ERROR)
            assert socket.receive() == 1001
            eventually(lambda: len(there.audited("connection.drained")) == 4)
            late = wire.open("/")  # it may not have seen the GOAWAY yet: served
            assert wire.reply(late).status == 200
            with grace.h1() as opener:
                assert opener.get("/open?tag=recycle").status == 200
            assert wire.reply(held).status == 200
            reply = busy.reply()
            assert reply.status == 200
            assert reply.headers["connection"] == "close"
            assert busy.ending() == "close_notify"
            assert idle.ending() == "close_notify"
            assert wire.ending() == "close_notify"
        there.audited("connection.drained", reason="the server's certificate was replaced")


def test_a_drain_is_bounded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A request that does not end is ended by `--drain-timeout`."""
    with trusting(tmp_path_factory.mktemp("bounded"), "--recycle-after", "1s", "--drain-timeout", "1s") as there:
        heidi = there.client("heidi")
        with heidi.h2() as wire:
            held = wire.open("/hold")
            time.sleep(1)
            there.put_pair(there.issue_server())
            with pytest.raises(Ended):
                wire.reply(held, timeout=8)
