"""What is logged: one line each, of bounded length, and an error where there is one alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.support.trust import Client, trusting

if TYPE_CHECKING:
    from pathlib import Path

_HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x1b[31m\nfake=line"


@pytest.mark.parametrize("form", [(), ("--json-logs",)])
def test_a_strangers_words_stay_in_bounds(tmp_path: Path, form: tuple[str, ...]) -> None:
    """Refused and let in: a SAN of 10 kB, a subject with controls, a long path. No line is longer than it has to be."""
    with trusting(tmp_path, *form) as there:
        for number, san in enumerate(
            (
                (x509.UniformResourceIdentifier(f"https://example.com/{'x' * 10_000}"),),
                (x509.UniformResourceIdentifier(f"<script>{'x' * 10_000}"),),
                (x509.RFC822Name(f"{'x' * 10_000}\r\nfake: line@example.com"),),
                (x509.UniformResourceIdentifier(f"spiffe://{'x' * 10_000}"),),
            )
        ):
            issued = there.issuer.issue(_HOSTILE, san=san)
            client = Client(issued.save(tmp_path / f"stranger{number}"), issued, there.server.port)
            if number == 0:
                with client.h1() as line:
                    assert line.get("/method?" + "q" * 10_000).status == 200
            else:
                assert client.refusal() != "let in"
        there.server.logged("handshake refused", times=3)
        lines = there.server.log().splitlines() + there.audit_log.read_text().splitlines()
        assert len(lines) >= 8
        for line in lines:
            assert len(line) < 5_000, line
            assert line.isprintable(), line
            assert not line.startswith("fake")
        for line in there.audit_log.read_text().rpartition("\n")[0].splitlines():
            assert json.loads(line)["event"]


@pytest.mark.parametrize("form", [(), ("--json-logs",)])
def test_a_path_is_told_without_effect(tmp_path: Path, form: tuple[str, ...]) -> None:
    """By the policy that lets it through or not, and by the access log: no control character, no other line."""
    (tmp_path / "policy.toml").write_text('[[rule]]\npath = "/a/*"\nallow = ["*"]\n')
    with (
        trusting(tmp_path, "--policy", str(tmp_path / "policy.toml"), *form) as there,
        there.client("tom").h2() as wire,
    ):
        for path in ("%1b%5d0;stolen%07", "%0afake", "%e2%80%ae%00", "%c2%9b31m"):
            assert wire.get(f"/a/{path}").status in (403, 404)
            assert wire.get(f"/b/{path}").status == 403
        there.server.logged("denied", times=4)
        for line in there.server.log().split("\n"):
            assert line.isprintable(), line
            assert not line.startswith("fake")


def test_an_application_without_lifespan_is_no_warning(tmp_path: Path) -> None:
    """Django's has none: ASGI leaves it to the application."""
    with trusting(tmp_path, app="docs.adopt.django_app:app") as there:
        with there.client("tom").h1() as line:
            assert line.get("/").status == 200
        assert "has no lifespan" in there.server.log()
        assert "warning" not in there.server.log()


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_a_client_that_leaves_is_no_error(tmp_path: Path, over: str) -> None:
    """Starlette raises an exception of its own into an application that reads an upload."""
    with trusting(tmp_path, app="tests.faults._starlette_app:app") as there:
        tom = there.client("tom")
        if over == "h1":
            with tom.h1() as line:
                line.send_bytes(b"POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf")
        else:
            with tom.h2() as wire:
                wire.say(wire.open("/upload", "POST", end=False), b"half")
        there.server.logged("path=/upload")
        assert "error" not in there.server.log()
