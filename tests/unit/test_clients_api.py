"""What the clients ask and read, without a connection."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.api import Reply, checked_path, greet_path, origin, read_greeting, read_whoami
from clients.errors import BadResponse, InvalidRequest


def reply(body: bytes, status: int = 200) -> Reply:
    return Reply(status=status, http_version="2", headers={}, body=body)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://localhost:8443", "https://localhost:8443"),
        ("https://localhost:8443/", "https://localhost:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://Example.com", "https://example.com"),
    ],
)
def test_a_server_is_named_by_its_origin(url: str, found: str) -> None:
    assert origin(url) == found


@given(st.text(max_size=30))
def test_whatever_is_no_https_origin_is_refused(text: str) -> None:
    try:
        found = origin(text)
    except InvalidRequest:
        return
    assert found.startswith("https://")
    assert "@" not in found


@given(st.text(max_size=30))
def test_a_path_stays_a_path(text: str) -> None:
    try:
        path = checked_path(text)
    except InvalidRequest:
        return
    assert path.startswith("/")
    assert not set(path) & set(" \r\n\t\0")


def test_a_greeting_is_asked_for_in_the_query() -> None:
    assert greet_path(None) == "/"
    assert greet_path("Hi & bye") == "/greet?greeting=Hi+%26+bye"


def test_an_answer_that_is_not_ok_is_an_error_with_its_status() -> None:
    with pytest.raises(BadResponse, match="answered 403: no \x20entry") as raised:
        read_greeting(reply(b"no\x1b entry", 403))
    assert raised.value.status == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"not json", b'{"name": 1}', b"\xff"])
def test_a_whoami_that_says_nothing_is_an_error(body: bytes) -> None:
    with pytest.raises(BadResponse):
        read_whoami(reply(body))


def test_a_whoami_is_read_whole() -> None:
    document = dict.fromkeys(
        [
            "name",
            "kind",
            "serial",
            "sha256",
            "not_before",
            "not_after",
            "http_version",
            "tls_version",
            "cipher",
            "group",
            "alpn",
        ],
        "x",
    )
    document |= {"emails": ["a@x.io"], "uris": [], "dns_names": []}  # type: ignore[dict-item]
    told = read_whoami(reply(json.dumps(document).encode()))
    assert told.emails == ("a@x.io",)
