"""Request targets in their forms (RFC 9112 section 3.2)."""

from __future__ import annotations

import pytest

from services.transport.admission import Admission, server_names
from services.transport.target import TargetError, origin_form

FIELDS = [(b"host", b"localhost"), (b"accept", b"*/*")]


@pytest.mark.parametrize("target", [b"/", b"/a?b", b"//a", b"*", b"/x://y"])
def test_a_path_stays_as_it_is(target: bytes) -> None:
    assert origin_form(target, FIELDS) == (target, FIELDS)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"https://example.com", b"/", b"example.com"),
        (b"HTTPS://example.com:8443/a/b?c", b"/a/b?c", b"example.com:8443"),
        (b"https://example.com?c", b"/?c", b"example.com"),
        (b"https://[::1]:8443//a", b"//a", b"[::1]:8443"),
    ],
)
def test_a_uri_is_a_path_at_a_host(target: bytes, path: bytes, host: bytes) -> None:
    """'The origin server MUST ignore the received Host header field (if any)' (section 3.2.2)."""
    assert origin_form(target, FIELDS) == (path, [(b"host", host), (b"accept", b"*/*")])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"a", 400),
        (b"localhost:443", 400),
        (b"https:///a", 400),
        (b"https://user@example.com/", 400),
        (b"http://example.com/", 421),
        (b"ftp://example.com/", 421),
        (b"x1://example.com/", 400),
    ],
)
def test_anything_else_is_refused(target: bytes, status: int) -> None:
    with pytest.raises(TargetError) as refused:
        origin_form(target, FIELDS)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "host", [b"evil", b"", b"evil@localhost", b"localhost@evil", b"localhost,evil", b"localhost/", b"[::1]"]
)
def test_a_host_that_is_not_ours_is_misdirected(host: bytes) -> None:
    """RFC 9110 section 15.5.20; the port and the root's dot make no difference, nor do capitals."""
    admission = Admission(server_names(["localhost"]))
    assert admission.objection([(b"host", host)]) == admission.objection([(b"host", b"localhost")], host) == 421
    for ours in (b"localhost", b"LOCALHOST:8443", b"localhost."):
        assert admission.objection([(b"host", ours)]) is None
