"""What the pages' addresses answer, without a browser: to whom, in which form, and for how long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from services.pages.text import visible
from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.trust import trusting

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


def test_strangers_words_are_one_harmless_line() -> None:
    assert visible("a\u202eb\x00\n\u200b") == "a\\u202eb\\x00\\n\\u200b"
    assert len(visible("x" * 10_000)) == 120
