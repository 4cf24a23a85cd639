"""What the authority signs: RFC 5280's extensions, and dates that hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority import CertificateAuthority, lifetime_of
from pki.errors import CorruptState, InvalidName, StateError, UsageError
from pki.identity import Purpose, has_purpose
from pki.keys import KeyType, describe_key
from pki.names import Names
from pki.profiles import LEAF_PROFILES, ClientProfile, ServerProfile
from pki.trust import was_issued_by

NOW = datetime.now(UTC)
KEY = KeyType.P256.generate()
AUTHORITY = CertificateAuthority.create("An authority", KeyType.P256.generate(), now=NOW)
NAMES = Names.parse("alice", emails=["alice@example.com"], dns_names=["alice.example.com"])


def leaf(label: str = "client", **arguments: timedelta) -> x509.Certificate:
    return AUTHORITY.issue(LEAF_PROFILES[label], NAMES, KEY.public_key(), now=NOW, **arguments)


@pytest.mark.parametrize(
    ("label", "usages"),
    [
        ("server", [ExtendedKeyUsageOID.SERVER_AUTH]),
        ("client", [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ("peer", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_the_extensions_of_a_leaf(label: str, usages: list[x509.ObjectIdentifier]) -> None:
    """No CA, signs handshakes alone, exactly its purposes, identifiers that chain, and its name as the subject."""
    extensions = leaf(label).extensions
    critical = {type(extension.value) for extension in extensions if extension.critical}
    assert critical == {x509.BasicConstraints, x509.KeyUsage}
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not (usage.key_cert_sign or usage.crl_sign or usage.key_encipherment or usage.key_agreement)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
    above = AUTHORITY.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == above.digest
    assert leaf(label).subject.rfc4514_string() == "CN=alice"
    assert leaf(label).issuer == AUTHORITY.certificate.subject


def test_the_extensions_of_the_authority() -> None:
    """A CA for leaves only, that signs certificates and lists and is presented by nobody."""
    extensions = AUTHORITY.certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert not has_purpose(AUTHORITY.certificate, Purpose.SERVER)
    assert AUTHORITY.certificate.subject.rfc4514_string() == "CN=An authority"


def test_serial_numbers_are_random_and_159_bits() -> None:
    """RFC 5280 4.1.2.2: positive, at most 20 octets, and never twice."""
    serials = {leaf().serial_number for _ in range(50)}
    assert len(serials) == 50
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials).bit_length() > 150


def test_dates_are_backdated_by_a_minute_and_counted_from_now() -> None:
    """In whole seconds; the profile's own life where nobody asks for another."""
    second = NOW.replace(microsecond=0)
    for label, days in (("server", 30), ("client", 7), ("peer", 30)):
        assert leaf(label).not_valid_before_utc == (NOW - timedelta(minutes=1)).replace(microsecond=0)
        assert leaf(label).not_valid_after_utc == second + timedelta(days=days)
    assert leaf(lifetime=timedelta(hours=1)).not_valid_after_utc == second + timedelta(hours=1)
    assert AUTHORITY.certificate.not_valid_after_utc == second + timedelta(days=3650)


def test_a_leaf_never_outlives_its_authority() -> None:
    """It ends with it, on the second."""
    assert leaf(lifetime=timedelta(days=100_000)).not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_an_authority_that_is_not_valid_signs_nothing() -> None:
    """Before its beginning the clock is wrong, after its end it has ended: StateError says which."""
    for moment, reason in ((NOW - timedelta(days=1), "clock"), (NOW + timedelta(days=3651), "ended")):
        with pytest.raises(StateError, match=reason):
            AUTHORITY.issue(ClientProfile(), NAMES, KEY.public_key(), now=moment)


@pytest.mark.parametrize("days", [0, -1, -(10**30)])
def test_no_lifetime_at_all(days: int) -> None:
    """Zero and negative days: UsageError."""
    with pytest.raises(UsageError, match="--days 1 or more"):
        lifetime_of(days)


def test_dates_end_in_the_year_9999() -> None:
    """A lifetime past it is UsageError, however far past."""
    for days in (10**30, 10**10):
        with pytest.raises(UsageError, match="9999"):
            lifetime_of(days)
    with pytest.raises(UsageError, match="9999"):
        CertificateAuthority.create("x", KEY, now=NOW, lifetime=lifetime_of(8000 * 366))
    with pytest.raises(UsageError, match="9999"):
        leaf(lifetime=lifetime_of(8000 * 366))


def test_an_authority_needs_its_own_key_and_be_one() -> None:
    """Another's key, or a leaf's certificate: CorruptState."""
    with pytest.raises(CorruptState, match="does not belong"):
        CertificateAuthority(AUTHORITY.certificate, KEY)
    with pytest.raises(CorruptState, match="no authority"):
        CertificateAuthority(leaf(), KEY)
    with pytest.raises(InvalidName):
        CertificateAuthority.create("", KEY, now=NOW)


def test_whose_signature_it_is() -> None:
    """The key decides, not the name: an authority of the same name did not issue it."""
    namesake = CertificateAuthority.create("An authority", KeyType.RSA3072.generate(), now=NOW)
    other_curve = CertificateAuthority.create("An authority", KeyType.ED25519.generate(), now=NOW)
    assert was_issued_by(leaf(), AUTHORITY.certificate)
    for other in (namesake, other_curve):
        assert not was_issued_by(leaf(), other.certificate)
        assert not was_issued_by(other.certificate, AUTHORITY.certificate)


def test_key_types_are_told_apart() -> None:
    """Each type that is issued is described by its own name."""
    for key_type in KeyType:
        if key_type is not KeyType.RSA4096:
            assert describe_key(key_type.generate().public_key()) == key_type
    assert ServerProfile().purposes == (Purpose.SERVER,)
