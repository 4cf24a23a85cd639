"""What a certificate's SAN may say, and who is read out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import IdentityError
from pki.identity import Identity, Purpose, check_dns_name, check_email, check_uri, has_purpose

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
EMAIL, DNS, URI, IP = 0x81, 0x82, 0x86, 0x87
MAILBOX_OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")


def certificate(*extensions: x509.ExtensionType, common_names: tuple[str, ...] = ("somebody",)) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")]))
        .public_key(KEY.public_key())
        .serial_number(0x0ABC)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def raw_san(*entries: tuple[int, bytes]) -> x509.UnrecognizedExtension:
    """A SAN of these tags and bytes, whatever they hold: cryptography would refuse to build most of them."""

    def tlv(tag: int, value: bytes) -> bytes:
        size = len(value)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + value

    body = b"".join(tlv(tag, value) for tag, value in entries)
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, tlv(0x30, body))


def read(*entries: tuple[int, bytes]) -> Identity:
    return Identity.from_certificate(certificate(raw_san(*entries)))


def test_the_first_email_is_the_name() -> None:
    """Email before URI before DNS name, whatever the order of the certificate, and all of them are kept in order."""
    identity = read(
        (DNS, b"Host.EXAMPLE.com"),
        (URI, b"https://Example.COM/Path"),
        (EMAIL, b"Alice@EXAMPLE.com"),
        (EMAIL, b"second@example.com"),
        (IP, b"\x7f\x00\x00\x01"),
    )
    assert (identity.name, identity.kind) == ("Alice@example.com", "email")
    assert identity.emails == ("Alice@example.com", "second@example.com")
    assert identity.uris == ("https://example.com/Path",)
    assert identity.dns_names == ("host.example.com",)


@pytest.mark.parametrize(
    ("entries", "name", "kind"),
    [
        ([(URI, b"spiffe://example.org/a"), (DNS, b"a.example.com")], "spiffe://example.org/a", "uri"),
        ([(DNS, b"a.example.com")], "a.example.com", "dns"),
        ([(DNS, b"*.example.com")], "*.example.com", "dns"),
        (
            [(URI, b"urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66")],
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "uri",
        ),
    ],
)
def test_without_an_email_uri_then_dns_name(entries: list[tuple[int, bytes]], name: str, kind: str) -> None:
    """A URI names the holder where there is no email, a DNS name where there is neither."""
    identity = read(*entries)
    assert (identity.name, identity.kind) == (name, kind)


def test_the_facts_beside_the_name() -> None:
    """Serial and fingerprint are bare lower-case hexadecimal, the dates aware and in UTC, the issuer RFC 4514."""
    made = certificate(raw_san((EMAIL, b"a@x.io")))
    identity = Identity.from_certificate(made)
    assert identity.serial == "abc"
    assert identity.sha256 == made.fingerprint(hashes.SHA256()).hex()
    assert (identity.not_before, identity.not_after) == (NOW, NOW + timedelta(days=1))
    assert identity.not_after.tzinfo is UTC
    assert identity.issuer == "CN=An authority"
    assert identity == Identity.from_certificate(made)


@pytest.mark.parametrize("tag", [EMAIL, DNS, URI])
@pytest.mark.parametrize(
    "twist",
    [
        b"%s\0.evil",
        b"\0%s",
        b"%s\n",
        b"%s\r\nX-Admin: 1",
        b"\x1b[2J%s",
        b"%s\x7f",
        b" %s",
        b"%s ",
        b"\t%s",
        b"%s\xc3\xa9",
        b"%s\xff",
    ],
)
def test_text_that_reads_in_two_ways_is_refused(tag: int, twist: bytes) -> None:
    """NUL, control bytes, DEL, blanks at an end and non-ASCII spoil the certificate, in any kind of entry."""
    plain = {EMAIL: b"a@x.io", DNS: b"x.io", URI: b"https://x.io/a"}[tag]
    assert read((tag, plain)).name
    with pytest.raises(IdentityError):
        read((tag, twist % plain))
    with pytest.raises(IdentityError):
        read((EMAIL, b"fine@example.com"), (tag, twist % plain))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (EMAIL, b""),
        (EMAIL, b"nobody"),
        (EMAIL, b"@x.io"),
        (EMAIL, b"a@"),
        (EMAIL, b"a@b@x.io"),
        (EMAIL, b'"a b"@x.io'),
        (EMAIL, b'"a@b"@x.io'),
        (EMAIL, b"Alice <a@x.io>"),
        (EMAIL, b"a@x.io, b@x.io"),
        (EMAIL, b"a@*.x.io"),
        (EMAIL, b"a@x..io"),
        (EMAIL, b"a" * 65 + b"@x.io"),
        (DNS, b""),
        (DNS, b"."),
        (DNS, b"x.io."),
        (DNS, b"-x.io"),
        (DNS, b"x y.io"),
        (DNS, b"*"),
        (DNS, b"a.*.io"),
        (DNS, b"x.io/path"),
        (DNS, b"a" * 64 + b".io"),
        (DNS, b".".join([b"a" * 60] * 5)),
        (URI, b""),
        (URI, b"/path"),
        (URI, b"no-scheme"),
        (URI, b"https:"),
        (URI, b"https://a b"),
        (URI, b"spiffe:example.org"),
        (URI, b"spiffe:///path"),
        (URI, b"spiffe://user@example.org/a"),
        (URI, b"spiffe://example.org:8443/a"),
        (URI, b"spiffe://example.org/a?b"),
        (URI, b"spiffe://example.org/a#b"),
        (URI, b"spiffe://example.org/a//b"),
        (URI, b"spiffe://example.org/../b"),
        (URI, b"spiffe://example.org/a/"),
        (URI, b"spiffe://example.org/%61"),
        (URI, b"spiffe://example.org/" + b"a" * 2048),
    ],
)
def test_what_is_no_name_is_refused(tag: int, value: bytes) -> None:
    """Empty values, emails and hosts out of form, and SPIFFE IDs against their specification."""
    with pytest.raises(IdentityError):
        read((tag, value))


def test_a_spiffe_id_is_the_only_uri() -> None:
    """Two URIs of which one is a SPIFFE ID: validators have to refuse (X509-SVID, section 2)."""
    with pytest.raises(IdentityError, match="only URI"):
        read((URI, b"spiffe://example.org/a"), (URI, b"https://example.org/"))
    assert read((URI, b"https://a.example.org/"), (URI, b"https://b.example.org/")).uris[1] == "https://b.example.org/"


def test_an_internationalised_mailbox_is_refused() -> None:
    """SmtpUTF8Mailbox (RFC 9598), though a plain email stands beside it; another otherName does no harm."""
    mailbox = x509.OtherName(MAILBOX_OID, b"\x0c\x07\xc3\xa9@x.io")
    with pytest.raises(IdentityError, match="SmtpUTF8Mailbox"):
        Identity.from_certificate(certificate(x509.SubjectAlternativeName([x509.RFC822Name("a@x.io"), mailbox])))
    principal = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
    san = x509.SubjectAlternativeName([principal, x509.RFC822Name("a@x.io")])
    assert Identity.from_certificate(certificate(san)).name == "a@x.io"


def test_no_name_at_all() -> None:
    """No SAN, an empty one, or addresses alone: nobody. The common name does not step in."""
    for made in (certificate(), certificate(raw_san()), certificate(raw_san((IP, b"\x7f\x00\x00\x01")))):
        with pytest.raises(IdentityError, match="names nobody"):
            Identity.from_certificate(made)


def test_the_common_name_where_it_is_asked_for() -> None:
    """Taken only where the SAN has no name, and only if it is one, plain, and not empty."""
    identity = Identity.from_certificate(certificate(), allow_common_name=True)
    assert (identity.name, identity.kind) == ("somebody", "cn")
    with_email = certificate(raw_san((EMAIL, b"a@x.io")))
    assert Identity.from_certificate(with_email, allow_common_name=True).name == "a@x.io"
    for names in ((), ("one", "two"), ("a\0b",), (" a",), ("a\n",)):
        with pytest.raises(IdentityError):
            Identity.from_certificate(certificate(common_names=names), allow_common_name=True)
    with pytest.raises(IdentityError):
        Identity.from_certificate(certificate(raw_san((EMAIL, b"a\0@x.io"))), allow_common_name=True)


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x05\x81\x01a", b"\x04\x00", b"\x30\x03\x87\x01a", b"\x30\x02\x83\x00"]
)
def test_a_san_that_cannot_be_parsed(der: bytes) -> None:
    """Broken DER, an address of no length, an X.400 name: IdentityError, never another exception."""
    broken = certificate(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der))
    with pytest.raises(IdentityError):
        Identity.from_certificate(broken)
    assert not has_purpose(broken, Purpose.CLIENT)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([0x80, EMAIL, DNS, 0x83, URI, IP, 0x88, 0xA0, 0xA4]), st.binary(max_size=30)))
)
def test_any_san_is_an_identity_or_refused(entries: list[tuple[int, bytes]]) -> None:
    """Whatever bytes a certificate holds, it gives an Identity of printable ASCII, or IdentityError."""
    try:
        identity = read(*entries)
    except IdentityError:
        return
    names = (*identity.emails, *identity.uris, *identity.dns_names)
    assert identity.name in names
    assert all(name and name.isascii() and name.isprintable() and name == name.strip() for name in names)


@given(st.text(max_size=20) | st.text("aB1.@:/*-_", max_size=20))
def test_what_is_checked_once_is_checked_for_good(text: str) -> None:
    """A normalised name passes its check again, unchanged."""
    for check in (check_email, check_uri, check_dns_name):
        try:
            once = check(text)
        except IdentityError:
            continue
        assert check(once) == once
        assert once.casefold() == text.casefold()


@pytest.mark.parametrize(
    ("usages", "server", "client"),
    [
        ([ExtendedKeyUsageOID.SERVER_AUTH], True, False),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], False, True),
        ([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], True, True),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], False, False),
        ([ExtendedKeyUsageOID.CODE_SIGNING], False, False),
    ],
)
def test_the_purpose_has_to_be_stated(usages: list[x509.ObjectIdentifier], server: bool, client: bool) -> None:
    """Only the very purpose counts; anyExtendedKeyUsage does not."""
    made = certificate(x509.ExtendedKeyUsage(usages))
    assert (has_purpose(made, Purpose.SERVER), has_purpose(made, Purpose.CLIENT)) == (server, client)


def test_no_stated_purpose_is_none() -> None:
    """Without the extension a certificate is good for nothing, though OpenSSL takes it for everything."""
    assert not has_purpose(certificate(), Purpose.CLIENT)
    assert not has_purpose(certificate(), Purpose.SERVER)
