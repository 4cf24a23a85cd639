"""The authority as a service asks it: renewals for who is known and sound, first certificates for one-time tokens."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki import succession
from pki.authority import BACKDATING, was_issued_by
from pki.crl_signing import Reason
from pki.csr import SigningRequest
from pki.enrolling import Enrolling
from pki.errors import CSRError, EnrollmentError, NotFound, PKIError, StateError, TokenError, UsageError
from pki.identity import Identity, Purpose, has_purpose
from pki.inventory.rows import fingerprint
from pki.issuing import Request
from pki.names import Names
from pki.profiles import ClientProfile, PeerProfile
from pki.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pki.enrolling import Enrolled
    from pki.lifecycle import Lifecycle

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ALICE = Request(ClientProfile(), Names.parse("alice", emails=["alice@example.com"]))
BOB = Request(ClientProfile(), Names.parse("bob", emails=["bob@example.com"]), days=3)


def request_for(
    name: str | None = None, email: str | None = None, key: ec.EllipticCurvePrivateKey | None = None
) -> SigningRequest:
    """A request that was made by its holder; by itself it asks for no name."""
    subject = x509.Name([] if name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if email is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(email)]), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return SigningRequest.parse(signed.public_bytes(Encoding.PEM))


@pytest.fixture
def enrolling(lifecycle: Lifecycle) -> Iterator[Enrolling]:
    with Enrolling(lifecycle) as opened:
        yield opened


@pytest.fixture
def alice(lifecycle: Lifecycle) -> x509.Certificate:
    return lifecycle.issue(ALICE, now=NOW).certificate


def nothing_was_issued(lifecycle: Lifecycle, call: Callable[[], Enrolled], error: type[PKIError], words: str) -> None:
    """It is refused, in one line, and the inventory is as it was."""
    before = lifecycle.entries(now=LATER)
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert len(str(caught.value).splitlines()) == 1
    assert lifecycle.entries(now=LATER) == before


# Renewal.


def test_a_renewal_is_of_the_identity_that_the_inventory_has(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    """Its names, profile and life; the key is that of the request; both certificates are in the inventory."""
    csr = request_for()
    renewed = enrolling.renew(csr, fingerprint(alice), now=LATER)
    leaf = renewed.chain[0]
    assert was_issued_by(leaf, renewed.trust.anchors[0])
    assert Identity.from_certificate(leaf).name == "alice@example.com"
    assert has_purpose(leaf, Purpose.CLIENT)
    assert not has_purpose(leaf, Purpose.SERVER)
    assert leaf.public_key() == csr.key
    assert leaf.not_valid_after_utc - LATER == timedelta(days=7)
    entries = lifecycle.entries(now=LATER, name="alice")
    assert [entry.certificate.sha256 for entry in entries] == [fingerprint(leaf), fingerprint(alice)]
    assert entries[0].certificate.requested_by == f"alice (renewal of {alice.serial_number:x})"
    # And on from there, by the certificate that was renewed.
    again = enrolling.renew(request_for(), fingerprint(leaf), now=LATER + timedelta(days=1))
    assert again.chain[0].not_valid_after_utc == LATER + timedelta(days=8)


def test_a_request_may_repeat_the_names_and_ask_for_no_others(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    same = request_for("alice", "alice@example.com")
    assert enrolling.renew(same, fingerprint(alice), now=LATER).row.names == ALICE.names
    for name, email in (("bob", None), ("alice", "root@example.com"), (None, "root@example.com")):
        other = request_for(name, email)
        nothing_was_issued(
            lifecycle,
            lambda other=other: enrolling.renew(other, fingerprint(alice), now=LATER),  # type: ignore[misc]
            EnrollmentError,
            "somebody else",
        )


@pytest.mark.parametrize("reason", [Reason.KEY_COMPROMISE, Reason.CERTIFICATE_HOLD])
def test_who_was_revoked_is_not_renewed(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate, reason: Reason
) -> None:
    """Also not by an earlier certificate that is still good by itself."""
    newer = enrolling.renew(request_for(), fingerprint(alice), now=LATER).chain[0]
    [row] = lifecycle.revocable(now=LATER, serial=f"{newer.serial_number:x}")
    lifecycle.revoke([row], reason, now=LATER)
    for certificate in (newer, alice):
        nothing_was_issued(
            lifecycle,
            lambda certificate=certificate: enrolling.renew(request_for(), fingerprint(certificate), now=LATER),  # type: ignore[misc]
            EnrollmentError,
            "on hold" if reason is Reason.CERTIFICATE_HOLD else "was revoked",
        )


def test_a_renewal_between_a_revocation_s_question_and_its_answer(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    """Whoever has the key renews while the operator is asked: the name is revoked, and what it was given meanwhile."""
    asked = lifecycle.revocable(now=LATER, name="alice")
    escaped = enrolling.renew(request_for(), fingerprint(alice), now=LATER).chain[0]
    revoked, _ = lifecycle.revoke(asked, Reason.KEY_COMPROMISE, now=LATER, name="alice")
    assert {row.sha256 for row in revoked} == {fingerprint(alice), fingerprint(escaped)}
    nothing_was_issued(
        lifecycle,
        lambda: enrolling.renew(request_for(), fingerprint(escaped), now=LATER),
        EnrollmentError,
        "was revoked",
    )


def test_a_renewal_at_the_moment_of_a_revocation(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    """It waits for what the other transaction decides: in PostgreSQL, too, where both could go on."""
    with ThreadPoolExecutor(1) as pool:
        with lifecycle.reading() as here, here.inventory.transaction() as work:
            work.names.claim("alice")
            assert work.revocations.set_revoked(f"{alice.serial_number:x}", Reason.KEY_COMPROMISE, LATER)
            renewal = pool.submit(_renew_apart, lifecycle, alice)
            with pytest.raises(TimeoutError):
                renewal.result(0.5)
        with pytest.raises(EnrollmentError, match="was revoked"):
            renewal.result(20)
    assert len(lifecycle.entries(now=LATER, name="alice")) == 1


def _renew_apart(lifecycle: Lifecycle, certificate: x509.Certificate) -> None:
    with Enrolling(lifecycle) as another:
        another.renew(request_for(), fingerprint(certificate), now=LATER)


def test_who_is_not_known_or_has_ended_is_not_renewed(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    ended = NOW + timedelta(days=7, seconds=1)
    cases = [("0" * 64, LATER, "was not issued here"), (fingerprint(alice), ended, "ended on 2026-11-30")]
    for sha256, now, words in cases:
        nothing_was_issued(
            lifecycle,
            lambda sha256=sha256, now=now: enrolling.renew(request_for(), sha256, now=now),  # type: ignore[misc]
            EnrollmentError,
            words,
        )


def test_no_key_twice(lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate) -> None:
    """Whoever had it; and not the authority's. Whose it was is not said."""
    key = ec.generate_private_key(ec.SECP256R1())
    bob = lifecycle.issue(BOB, now=NOW).certificate
    enrolling.renew(request_for(key=key), fingerprint(bob), now=LATER)
    nothing_was_issued(
        lifecycle,
        lambda: enrolling.renew(request_for(key=key), fingerprint(alice), now=LATER),
        CSRError,
        "^the key was used before: make a new one$",
    )
    authority = lifecycle.signer().authority.key
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    nothing_was_issued(
        lifecycle,
        lambda: enrolling.renew(request_for(key=authority), fingerprint(alice), now=LATER),
        CSRError,
        "key of an authority",
    )


def test_a_life_that_is_set(lifecycle: Lifecycle, alice: x509.Certificate) -> None:
    """Whatever the inventory has; in whole seconds, and not beyond the authority's end."""
    with Enrolling(lifecycle, lifetime=timedelta(seconds=60)) as short:
        leaf = short.renew(request_for(), fingerprint(alice), now=LATER).chain[0]
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(seconds=60) + BACKDATING
        # Of a name that is not kept here, the next one lives as long as the one before.
        token = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW).token
        first = short.enroll(request_for(), token, now=NOW).chain[0]
    with Enrolling(lifecycle) as long:
        second = long.renew(request_for(), fingerprint(first), now=NOW).chain[0]
    assert second.not_valid_after_utc == NOW + timedelta(seconds=60)


def test_a_rotation_of_the_authority_is_taken_up(
    lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate
) -> None:
    """While it is open: the new authority signs and is trusted from the moment on in which it is staged and active."""
    with lifecycle.writing() as here:
        staged, _ = succession.stage(here, NOW)
    renewed = enrolling.renew(request_for(), fingerprint(alice), now=LATER)
    assert len(renewed.trust) == 2
    assert not was_issued_by(renewed.chain[0], staged.certificate)
    with lifecycle.writing() as here:
        succession.activate(here, LATER)
    renewed = enrolling.renew(request_for(), fingerprint(alice), now=LATER)
    assert was_issued_by(renewed.chain[0], staged.certificate)


def test_many_at_once(lifecycle: Lifecycle, alice: x509.Certificate) -> None:
    """By several that answer for one authority, each in a thread of its own: every one is in the inventory."""
    ready = threading.Barrier(4)

    def work(_: int) -> list[str]:
        with Enrolling(lifecycle) as one:
            ready.wait(30)
            return [one.renew(request_for(), fingerprint(alice), now=LATER).row.serial for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        serials = [serial for found in pool.map(work, range(4)) for serial in found]
    known = {entry.certificate.serial for entry in lifecycle.entries(now=LATER, name="alice")}
    assert len(set(serials)) == 40
    assert set(serials) < known


def test_several_together(lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate) -> None:
    """One that is refused changes nothing of the others, and no token is lost to it; all of them or none are there."""
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    with enrolling.together():
        first = enrolling.renew(request_for(key=key), fingerprint(alice), now=LATER).row
        with pytest.raises(CSRError, match="used before"):
            enrolling.enroll(request_for(key=key), made.token, now=NOW)
        second = enrolling.renew(request_for(), fingerprint(alice), now=LATER).row
        third = enrolling.enroll(request_for(), made.token, now=NOW).row
        with pytest.raises(TokenError, match="used already"):
            enrolling.enroll(request_for(), made.token, now=NOW)
    known = {entry.certificate.serial for entry in lifecycle.entries(now=LATER)}
    assert {first.serial, second.serial, third.serial} < known
    if lifecycle.database is None:
        with pytest.raises(ZeroDivisionError), enrolling.together():
            enrolling.renew(request_for(), fingerprint(alice), now=LATER)
            raise ZeroDivisionError
        assert {entry.certificate.serial for entry in lifecycle.entries(now=LATER)} == known
    assert enrolling.renew(request_for(), fingerprint(alice), now=LATER).row.names == ALICE.names


def test_nobody_signs_without_an_authority(lifecycle: Lifecycle, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="init"):
        Enrolling(type(lifecycle)(State(tmp_path / "nowhere")))


# Tokens.


def test_a_token_is_worth_one_certificate(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    """Of the names, profile and life that it was made for. It is kept nowhere: the inventory has its hash."""
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    enrolled = enrolling.enroll(request_for(), made.token, now=NOW + timedelta(minutes=9))
    leaf = enrolled.chain[0]
    assert Identity.from_certificate(leaf).name == "bob@example.com"
    assert leaf.not_valid_after_utc == NOW + timedelta(days=3, minutes=9)
    assert enrolled.row.requested_by == "alice@host (token)"
    assert made.anchor in enrolled.trust
    nothing_was_issued(
        lifecycle, lambda: enrolling.enroll(request_for(), made.token, now=LATER), TokenError, "was used already"
    )
    if lifecycle.database is None:
        for file in lifecycle.state.folder.glob("inventory.db*"):
            assert made.token.encode() not in file.read_bytes()


def test_tokens_that_are_worth_nothing(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    cases = [
        (made.token, NOW + timedelta(minutes=10), "has expired"),
        (made.token + "x", NOW, "is not known"),
        (made.token.upper(), NOW, "is not known"),
        ("", NOW, "is not known"),
        ("\x00\udcff"[:1], NOW, "is not known"),
    ]
    for token, now, words in cases:
        nothing_was_issued(
            lifecycle,
            lambda token=token, now=now: enrolling.enroll(request_for(), token, now=now),  # type: ignore[misc]
            TokenError,
            words,
        )


def test_a_token_is_not_lost_to_a_bad_request(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    """Nothing was issued for it, so it is as good as before."""
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    nothing_was_issued(
        lifecycle,
        lambda: enrolling.enroll(request_for("root"), made.token, now=NOW),
        EnrollmentError,
        "somebody else",
    )
    assert enrolling.enroll(request_for(), made.token, now=NOW).row.names == BOB.names


def test_of_many_who_try_one_token_one_enrolls(lifecycle: Lifecycle) -> None:
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    ready = threading.Barrier(8)

    def attempt(_: int) -> bool:
        with Enrolling(lifecycle) as one:
            ready.wait(30)
            try:
                one.enroll(request_for(), made.token, now=NOW)
            except TokenError:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(8))).count(True) == 1
    assert len(lifecycle.entries(now=NOW, name="bob")) == 1


def test_a_revocation_takes_the_token_with_it(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    first = lifecycle.invite(BOB, timedelta(days=2), now=NOW)
    second = lifecycle.invite(BOB, timedelta(days=2), now=NOW)
    enrolling.enroll(request_for(), first.token, now=NOW)
    lifecycle.revoke(lifecycle.revocable(now=NOW, name="bob"), Reason.KEY_COMPROMISE, now=NOW)
    nothing_was_issued(
        lifecycle, lambda: enrolling.enroll(request_for(), second.token, now=NOW), EnrollmentError, "was revoked"
    )
    with pytest.raises(StateError, match="--again"):
        lifecycle.invite(BOB, timedelta(days=1), now=LATER)
    third = lifecycle.invite(BOB, timedelta(days=1), now=LATER, again=True)
    assert enrolling.enroll(request_for(), third.token, now=LATER).row.names == BOB.names


def test_names_that_no_token_is_made_for(lifecycle: Lifecycle, enrolling: Enrolling, alice: x509.Certificate) -> None:
    """One whose key was made here, whenever; and no token for longer than a week."""
    with pytest.raises(StateError, match="choose another NAME"):
        lifecycle.invite(ALICE, timedelta(minutes=1), now=NOW)
    with pytest.raises(UsageError, match="7 days"):
        lifecycle.invite(BOB, timedelta(days=8), now=NOW)
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    lifecycle.issue(BOB, now=NOW)
    nothing_was_issued(
        lifecycle, lambda: enrolling.enroll(request_for(), made.token, now=NOW), EnrollmentError, "issued otherwise"
    )
    assert alice


def test_expired_tokens_are_forgotten(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    """By those who make others, a day later; until then it is said that they have expired."""
    made = lifecycle.invite(BOB, timedelta(minutes=10), now=NOW)
    lifecycle.invite(BOB, timedelta(minutes=10), now=LATER + timedelta(hours=1))
    nothing_was_issued(
        lifecycle, lambda: enrolling.enroll(request_for(), made.token, now=NOW), TokenError, "is not known"
    )


def test_a_peer_enrolls_as_one(lifecycle: Lifecycle, enrolling: Enrolling) -> None:
    billing = Request(PeerProfile(), Names.parse("billing", dns_names=["billing.internal"]))
    made = lifecycle.invite(billing, timedelta(minutes=10), now=NOW)
    leaf = enrolling.enroll(request_for(), made.token, now=NOW).chain[0]
    assert has_purpose(leaf, Purpose.SERVER)
    assert has_purpose(leaf, Purpose.CLIENT)


def test_the_command(run: Callable[..., tuple[int, str, str]], fails: Callable[..., str]) -> None:
    """The token alone on stdout; with --json all that its holder needs."""
    run("init")
    code, out, err = run("token", "alice", "--email", "alice@example.com", "--ttl", "10m")
    assert code == 0
    assert out.startswith("handclasp_")
    assert len(out.split()) == 1
    assert "client alice (alice@example.com)" in err
    told = json.loads(run("token", "web", "--profile", "server", "--dns", "web.internal", "--json")[1])
    assert told.keys() == {"token", "name", "profile", "expires", "fingerprint"}
    facts = json.loads(run("inspect", "state/authority/ca.crt", "--json")[1])
    assert told["fingerprint"] == facts["sha256"].replace(":", "").lower()
    assert told["fingerprint"] in err
    fails(2, "token", "alice", "--ip", "127.0.0.1")
    fails(2, "token", "alice", "--email", "alice@example.com", "--ttl", "8d")
    fails(2, "token", "alice")
    fails(2, "token", "alice", "--email", "alice@example.com", "--ttl", "soon")
