"""What the pages' addresses answer, without a browser: to whom, in which form, and for how long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from services.pages.text import visible
from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.trust import trusting
from tests.support.wire import reset

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.wire1 import Reply

_POLICY = '[[rule]]\npath = "/*"\nallow = ["*"]\n'


def test_a_browser_gets_a_page_and_others_a_line(tmp_path: Path) -> None:
    """RFC 9110, 12.5.1: curl takes anything, a browser says that it would rather have HTML."""
    accepted = {
        "": "text/plain",
        "accept: */*\r\n": "text/plain",
        "accept: text/plain, text/html;q=0.5\r\n": "text/plain",
        "accept: application/json\r\n": "text/plain",
        "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n": "text/html",
    }
    with trusting(tmp_path, app="services.app:app") as there:
        for fields, kind in accepted.items():
            with there.client("tom").h1() as line:
                reply = line.get("/", more=fields)
            assert (reply.status, reply.headers["content-type"]) == (200, f"{kind}; charset=utf-8"), fields
            assert reply.headers["vary"] == "accept"
            assert b"Hello tom@example.com!" in bytes(reply.body)


def test_a_page_runs_nothing_but_our_own(tmp_path: Path) -> None:
    with trusting(tmp_path, app="services.app:app") as there, there.client("tom").h1() as line:
        page = line.get("/", more="accept: text/html\r\n")
        policy = dict(one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in str(policy)
        assert page.headers["cache-control"] == "no-store"
        html = bytes(page.body).decode()
        assert " style=" not in html
        assert "<script" not in html
        for name, kind in (("pages.css", "text/css"), ("authority.js", "text/javascript"), ("mark.svg", "image/svg")):
            reply = line.get(f"/pages/{name}")
            assert reply.status == 200
            assert reply.headers["content-type"].startswith(kind)
            assert b"://" not in bytes(reply.body).replace(b"http://www.w3.org/2000/svg", b""), "another host"
        assert line.get("/pages/../service.py").status == 404
        assert line.get("/pages/%2e%2e/service.py").status == 404


@pytest.mark.parametrize("path", ["/authority", "/authority/events"])
def test_the_authority_is_closed_without_a_policy(tmp_path: Path, path: str) -> None:
    """Nobody has said who its administrators are."""
    with trusting(tmp_path, app="services.app:app") as there, there.client("tom").h1() as line:
        reply = line.get(path)
        assert reply.status == 403
        assert b"policy" in bytes(reply.body)
        assert b"tom@example.com" not in bytes(reply.body)


def test_refusals_and_the_absence_of_an_authority_are_told(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(_POLICY)
    with trusting(tmp_path, "--policy", str(tmp_path / "policy.toml"), app="services.app:app") as there:
        there.client("mallory", issuer=Issuer("Elsewhere")).refusal()
        with there.client("tom").h1() as line:
            page = bytes(line.get("/authority").body).decode()
        assert "handshake.refused" in page
        assert "unable to get local issuer certificate" in page
        assert "mallory@example.com" in page
        assert "tom@example.com" in page
        assert "The authority is not on this machine" in page


def test_an_inventory_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """The rest of the page is there."""
    (tmp_path / "policy.toml").write_text(_POLICY)
    (tmp_path / "state").mkdir()
    options = ("--policy", str(tmp_path / "policy.toml"), "--state", str(tmp_path / "state"))
    with trusting(tmp_path, *options, app="services.app:app") as there, there.client("tom").h1() as line:
        page = line.get("/authority")
        assert page.status == 200
        assert "The inventory cannot be read: " in bytes(page.body).decode()
        assert "tom@example.com" in bytes(page.body).decode()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["the server stops", "the policy changes", "the caller is revoked"])
def test_events_end_when_whoever_looks_has_to_be_judged_anew(tmp_path: Path, ending: str) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(_POLICY)
    options = ("--policy", str(policy), "--graceful-timeout", "20s")
    with trusting(tmp_path, *options, app="services.app:app") as there:
        tom = there.client("tom")
        replies: list[Reply] = []
        with tom.h1() as line:
            reader = threading.Thread(target=lambda: replies.append(line.get("/authority/events", timeout=15)))
            reader.start()
            eventually(lambda: there.audited("connection.opened", identity="tom@example.com") != [])
            threading.Event().wait(0.5)  # the first events are under way
            if ending == "the server stops":
                there.server.signal()
            elif ending == "the policy changes":
                policy.write_text(_POLICY.replace('"*"', '"email:alice@example.com"'))
            else:
                there.revoke(tom)
            reader.join(10)
            assert not reader.is_alive()
            (reply,) = replies
            assert bytes(reply.body).startswith(b"event: live\ndata: ")
            assert reply.whole is (ending != "the caller is revoked")
            if ending == "the policy changes":
                assert line.get("/authority/events").status == 403
            if ending == "the server stops":
                assert there.server.exit_code() == 0


def test_pages_that_are_open_are_counted(tmp_path: Path) -> None:
    """Eight of one caller, wherever they are open; the next is told so, and one that is closed makes room."""
    (tmp_path / "policy.toml").write_text(_POLICY)
    with trusting(tmp_path, "--policy", str(tmp_path / "policy.toml"), app="services.app:app") as there:
        tom, tim = there.client("tom"), there.client("tim")
        with tom.h2() as first, tom.h2() as second, tim.h2() as other:
            watching = [wire.open("/authority/events") for wire in (first, second) for _ in range(4)]
            for wire in (first, second):
                wire.until(lambda wire=wire: sum(bool(reply.body) for reply in wire.replies.values()) == 4)
            refused = second.get("/authority/events")
            assert (refused.status, refused.whole) == (503, True)
            assert b"too many" in bytes(refused.body)
            stream = other.open("/authority/events")
            other.until(lambda: bool(other.replies[stream].body))
            assert other.replies[stream].status == 200
            first.send(reset(watching[0]))

            def again() -> bool:
                stream = second.open("/authority/events")
                second.until(lambda: bool(second.replies[stream].body))
                return second.replies[stream].status == 200

            eventually(again, 10)


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_another_site_s_page_is_told_nothing(tmp_path: Path, site: str, status: int) -> None:
    """A browser shows its certificate to whatever page makes it ask, and says which page that was."""
    (tmp_path / "policy.toml").write_text(_POLICY)
    options = ("--policy", str(tmp_path / "policy.toml"))
    with trusting(tmp_path, *options, app="services.app:app") as there, there.client("tom").h2() as wire:
        stream = wire.open("/authority/events", more=[("sec-fetch-site", site)])
        wire.until(lambda: bool(wire.replies[stream].body))
        assert wire.replies[stream].status == status
        assert "access-control-allow-origin" not in wire.replies[stream].headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_another_site_calls_nothing(tmp_path: Path, kind: str) -> None:
    """What a page may send anywhere without asking is no RPC; and who asks first (CORS) is allowed nothing."""
    path = "/handclasp.greeter.v1.GreeterService/Greet"
    with trusting(tmp_path, app="services.app:app") as there, there.client("tom").h1() as line:
        body = f"origin: https://evil.example\r\ncontent-type: {kind}\r\ncontent-length: 2\r\n\r\n{{}}"
        line.send_bytes(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{body}".encode())
        assert line.reply("POST").status == 415
        asks = "origin: https://evil.example\r\naccess-control-request-method: POST\r\n"
        asks += "access-control-request-headers: content-type\r\n"
        reply = line.get(path, "OPTIONS", more=asks)
        assert reply.status != 200
        assert not any(name.startswith("access-control") for name in reply.headers)


def test_strangers_words_are_one_harmless_line() -> None:
    assert visible("a\u202eb\x00\n\u200b") == "a\\u202eb\\x00\\n\\u200b"
    assert len(visible("x" * 10_000)) == 120
