"""Reload is all or nothing: a candidate that is not sound changes nothing, is said, and a sound one is taken next."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.issuer import Issuer
from tests.support.server import Server
from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOREIGN = Issuer("Foreign CA")
SAME_NAME = Issuer()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("candidates")) as made:
        made.put("ca.crl", made.issuer.revocation_list(number=1_000))
        made.server.logged(" reloaded")
        yield made


CANDIDATES: dict[str, tuple[str, bytes | Callable[[Trusting], bytes], str]] = {
    "a broken key": ("tls.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
    "an empty bundle": ("ca.crt", b"", "trust bundle"),
    "garbage in the bundle": ("ca.crt", b"\0" * 100, "trust bundle"),
    "half a bundle": ("ca.crt", lambda t: t.issuer.certificate.public_bytes(Encoding.PEM)[:-40], "trust bundle"),
    "another authority's bundle and the list": (
        "ca.crt",
        lambda _: FOREIGN.certificate.public_bytes(Encoding.PEM),
        "leads to no authority of the trust bundle",
    ),
    "a list of another issuer": ("ca.crl", lambda _: FOREIGN.revocation_list(number=2_000), "signed by no authority"),
    "a list under our name, not by our key": (
        "ca.crl",
        lambda _: SAME_NAME.revocation_list(number=2_000),
        "signed by no authority",
    ),
    "an expired list": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=2_000, signed=timedelta(hours=-2), stale=timedelta(hours=-1)),
        "is stale since",
    ),
    "a list from the future": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=2_000, signed=timedelta(hours=1), stale=timedelta(hours=2)),
        "from the future",
    ),
    "an older list than the one in force": (
        "ca.crl",
        lambda t: t.issuer.revocation_list(number=3),
        "older than number",
    ),
    "half a list": ("ca.crl", lambda t: t.issuer.revocation_list(number=2_000)[:-60], "cut short"),
    "an empty list file": ("ca.crl", b"", "no revocation list"),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_candidate(there: Trusting, case: str) -> None:
    """It is refused with its reason, in the log and in the audit log; the server goes on, and takes the next."""
    name, data, reason = CANDIDATES[case]
    path = there.credential / name
    good = path.read_bytes()
    ivan = there.client("ivan")
    with ivan.h2() as open_before:
        assert open_before.get().status == 200
        after = there.server.log_end()
        there.put(name, data if isinstance(data, bytes) else data(there))
        line = there.server.logged("reload refused", after)[0]
        assert reason in line
        assert there.audited("reload.refused")[-1]["reason"]
        assert open_before.get().status == 200
        with ivan.h1() as opened_now:
            assert opened_now.get().status == 200
        there.put(name, good)
        there.server.signal(signal.SIGHUP)
        there.server.logged(" reloaded", after)
        assert open_before.get().status == 200


@pytest.mark.parametrize("gone", ["missing", "a folder in its place"])
def test_a_bundle_that_is_taken_away(there: Trusting, gone: str) -> None:
    """No bundle is no reason to trust the system's: refused, and the one before goes on."""
    kim, stranger = there.client("kim"), there.client("stranger", issuer=FOREIGN)
    bundle, after = there.credential / "ca.crt", there.server.log_end()
    data = bundle.read_bytes()
    bundle.unlink()
    if gone != "missing":
        bundle.mkdir()
    assert "trust bundle" in there.server.logged("reload refused", after)[0]
    assert kim.refusal() == "let in"
    assert stranger.refusal() != "let in"
    if bundle.is_dir():
        bundle.rmdir()
    after = there.server.log_end()
    there.put("ca.crt", data)
    there.taken_up(after)


def test_a_list_that_is_taken_away(there: Trusting) -> None:
    """Who can remove `ca.crl` cannot undo a revocation by it."""
    judy = there.client("judy")
    after = there.server.log_end()
    there.put("ca.crl", there.issuer.revocation_list(judy.serial, number=1_001))
    there.taken_up(after)
    after = there.server.log_end()
    (there.credential / "ca.crl").unlink()
    assert "is gone" in there.server.logged("reload refused", after)[0]
    assert "revoked" in judy.refusal().lower()
    there.put("ca.crl", there.issuer.revocation_list(number=1_002))
    there.taken_up(after)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("ca.crl", lambda _: FOREIGN.revocation_list(), "signed by no authority"),
        ("ca.crl", lambda issuer: issuer.revocation_list(stale=timedelta(seconds=-1), signed=timedelta(-1)), "stale"),
        ("ca.crt", lambda _: FOREIGN.certificate.public_bytes(Encoding.PEM), "leads to no authority"),
        ("ca.crt", lambda _: b"", "trust bundle"),
        ("ca.crt", lambda _: None, "trust bundle"),
    ],
)
def test_at_the_start_it_is_an_error(
    tmp_path: Path, name: str, data: Callable[[Issuer], bytes | None], words: str
) -> None:
    """What cannot be trusted is not served by: one line, exit 1."""
    there = Trusting.__new__(Trusting)
    there.issuer = Issuer()
    credential = there.issue_server().save(tmp_path / "localhost")
    if (content := data(there.issuer)) is None:
        (credential / name).unlink()
    else:
        (credential / name).write_bytes(content)
    server = Server(tmp_path, credential, credential)
    assert server.exit_code() == 1
    assert words in server.log()
    assert "Traceback" not in server.log()
    assert len(server.log().strip().splitlines()) == 1
    server.stop()
