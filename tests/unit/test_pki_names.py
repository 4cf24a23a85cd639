"""Names that somebody typed: normalised and read back equal, or refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.authority import CertificateAuthority
from pki.errors import InvalidName
from pki.identity import Identity
from pki.keys import KeyType
from pki.names import (
    Names,
    parse_authority_name,
    parse_dns_name,
    parse_email,
    parse_ip_address,
    parse_name,
    parse_uri,
)
from pki.profiles import LEAF_PROFILES, ClientProfile

NOW = datetime(2026, 11, 23, tzinfo=UTC)
AUTHORITY = CertificateAuthority.create("An authority", KeyType.P256.generate(), now=NOW)
PUBLIC_KEY = KeyType.P256.generate().public_key()


@pytest.mark.parametrize(
    ("parse", "text", "normal"),
    [
        (parse_dns_name, "WWW.Example.COM", "www.example.com"),
        (parse_dns_name, "Bücher.example", "xn--bcher-kva.example"),
        (parse_dns_name, "XN--bcher-kva.example", "xn--bcher-kva.example"),
        (parse_dns_name, "*.Bücher.example", "*.xn--bcher-kva.example"),
        (parse_dns_name, "localhost", "localhost"),
        (parse_dns_name, "r3---sn-a.example", "r3---sn-a.example"),
        (parse_dns_name, "3com.example", "3com.example"),
        (parse_email, "Alice.B+tag@EXAMPLE.com", "Alice.B+tag@example.com"),
        (parse_email, "alice@bücher.example", "alice@xn--bcher-kva.example"),
        (parse_email, "root@localhost", "root@localhost"),
        (parse_uri, "SPIFFE://Example.org/ns/A", "spiffe://example.org/ns/A"),
        (parse_uri, "HTTPS://User@EXAMPLE.com:8443/Path?Q#F", "https://User@example.com:8443/Path?Q#F"),
        (parse_uri, "urn:isbn:0451450523", "urn:isbn:0451450523"),
        (parse_uri, "https://u:p@[2001:DB8::1]:443?x", "https://u:p@[2001:db8::1]:443?x"),
        (parse_uri, "https://127.0.0.1/%C3%A9", "https://127.0.0.1/%C3%A9"),
        (parse_uri, "file:///etc/motd", "file:///etc/motd"),
        (parse_ip_address, "2001:DB8:0::1", "2001:db8::1"),
        (parse_ip_address, "127.0.0.1", "127.0.0.1"),
        (parse_name, "alice@example.com", "alice@example.com"),
        (parse_name, "a", "a"),
        (parse_name, "A" * 64, "A" * 64),
        (parse_authority_name, "Größe & Söhne, CA", "Größe & Söhne, CA"),
    ],
)
def test_names_are_normalised(parse: object, text: str, normal: str) -> None:
    """Domains to lower-case A-labels, addresses to their canonical form, what is exact stays exact."""
    assert parse(text) == normal
    assert parse(normal) == normal


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((parse_name, text) for text in ("", ".", "..", "../x", "-x", "a/b", "a b", "é", "a\n", "a\0", "A" * 65)),
        *((parse_authority_name, text) for text in ("", " ", "CA ", "C\nA", "C\0A", "x" * 65, "\u202eCA")),
        *((parse_dns_name, text) for text in ("", ".", "a.", ".a", "a..b", "a b", "a_b", "-a", "a-", "*", "*.", "a.*")),
        *((parse_dns_name, text) for text in ("127.0.0.1", "::1", "1.2.3.256", "a.123", "*.127.0.0.1", "*.*.io")),
        *(
            (parse_dns_name, text)
            for text in ("a" * 64, "a." * 127 + "a", "xn--a", "xn--zz.io", "a\0.io", "a\n", "🦊.io")
        ),
        *((parse_dns_name, text) for text in ("\uff41.io/", "a。b/c", "https://x.io", "x.io:443", "\udcff.io")),
        *((parse_email, text) for text in ("", "a", "@", "a@", "@x.io", "a@b@x.io", ".a@x.io", "a.@x.io", "a..b@x.io")),
        *(
            (parse_email, text)
            for text in ('"a"@x.io', "a b@x.io", " a@x.io", "a@x.io ", "a@x.io\0", "é@x.io", "a@[::1]")
        ),
        *((parse_email, text) for text in ("a\n@x.io", "<a@x.io>", "a@*.x.io", "a@1.2.3.4", "a" * 65 + "@x.io")),
        *((parse_email, text) for text in ("a@" + ".".join(["b" * 60] * 5), "a" * 64 + "@" + "b." * 95 + "io")),
        *((parse_uri, text) for text in ("", "x", "/a", "https:", "https://a b", "https://é.io", "http://x\n", "a:\0")),
        *(
            (parse_uri, text)
            for text in ("spiffe://", "spiffe://EXAMPLE.org:1/a", "spiffe://a/b/", "spiffe://a//b", " a:b")
        ),
        *((parse_uri, text) for text in ("http://", "https:///p", "https://u@/", "https://x.io:/", "https://x.io:0/")),
        *(
            (parse_uri, text)
            for text in ("https://x.io:65536", "https://x.io:8x/", "http://[zz]/", "http://[::1", "a://_")
        ),
        *(
            (parse_uri, text)
            for text in ("x:%", "x:%zz", "x:%4", "urn:a%00b", "urn:a%0Ab", "https://x.io/%7f", "ftp://%41")
        ),
        *(
            (parse_ip_address, text)
            for text in ("", "1", "1.2.3", "1.2.3.4/24", "fe80::1%eth0", "01.2.3.4", "::1 ", "x.io")
        ),
    ],
)
def test_what_is_no_name_is_refused(parse: object, text: str) -> None:
    """InvalidName in one printable line, which shows what was typed."""
    with pytest.raises(InvalidName) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("given", [{"uris": ["spiffe://a/" + "b" * 2048]}, {"emails": ["a" * 99_999]}])
def test_what_is_far_too_long_is_not_repeated(given: dict[str, list[str]]) -> None:
    """A file in the place of a name makes no error message of a hundred kilobytes."""
    with pytest.raises(InvalidName) as caught:
        Names.parse("x", **given)
    assert len(str(caught.value)) < 100
    assert len(Names.parse("x", uris=["spiffe://a/" + "b" * 2037]).uris[0]) == 2048


def test_duplicates_are_dropped_and_order_is_kept() -> None:
    """The first email is the name, so the order is the user's."""
    names = Names.parse("x", emails=["b@x.io", "a@X.io", "b@X.IO"], ip_addresses=["::1", "0::1"])
    assert names.emails == ("b@x.io", "a@x.io")
    assert names.ip_addresses == ("::1",)


def test_a_spiffe_id_stands_alone() -> None:
    """Beside another URI it would be refused by those who validate it."""
    with pytest.raises(InvalidName, match="only URI"):
        Names.parse("x", uris=["spiffe://example.org/a", "https://example.org"])


def test_what_each_profile_needs() -> None:
    """A server needs an address, a client a name, a peer both; wildcards name servers alone."""
    server, client, peer = (LEAF_PROFILES[label].completed for label in ("server", "client", "peer"))
    assert server(Names.parse("web.example.com")).dns_names == ("web.example.com",)
    assert server(Names.parse("localhost")).dns_names == ("localhost",)
    assert server(Names.parse("localhost", ip_addresses=["::1"])).dns_names == ()
    assert server(Names.parse("web", dns_names=["*.x.io"])).dns_names == ("*.x.io",)
    assert peer(Names.parse("web.example.com", emails=["a@x.io"])).dns_names == ("web.example.com",)
    assert peer(Names.parse("a.b", uris=["spiffe://example.org/a"])).dns_names == ()
    for profile, names, advice in [
        (server, Names.parse("web"), "--dns"),
        (server, Names.parse("web@example.com"), "--dns"),
        (server, Names.parse("1.2.3.4"), "--ip"),
        (client, Names.parse("alice"), "--email"),
        (client, Names.parse("alice", ip_addresses=["::1"]), "--email"),
        (client, Names.parse("alice", dns_names=["*.x.io"]), "its own DNS name"),
        (peer, Names.parse("p", emails=["a@x.io"]), "--dns"),
        (peer, Names.parse("p", ip_addresses=["::1"]), "--email"),
        (peer, Names.parse("p", dns_names=["*.x.io"]), "its own DNS name"),
    ]:
        with pytest.raises(InvalidName, match=advice):
            profile(names)


LABELS = st.text("aB1-é", min_size=1, max_size=8)
DOMAINS = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
TEXT = st.text(max_size=20)


@settings(max_examples=300)
@given(
    st.text("aB1._@-", max_size=8) | TEXT,
    st.lists(st.builds("{}@{}".format, st.text("aB.+'", max_size=5), DOMAINS) | TEXT, max_size=2),
    st.lists(st.builds("{}://{}{}".format, st.sampled_from(["spiffe", "HTTPS"]), DOMAINS, TEXT) | TEXT, max_size=2),
    st.lists(DOMAINS | TEXT, max_size=2),
)
def test_any_text_is_refused_or_read_back(name: str, emails: list[str], uris: list[str], dns_names: list[str]) -> None:
    """What `issue` takes is what a server reads: equal, entry by entry. Nothing but InvalidName is raised."""
    try:
        names = Names.parse(name, emails=emails, uris=uris, dns_names=dns_names)
        certificate = AUTHORITY.issue(ClientProfile(), names, PUBLIC_KEY, now=NOW)
    except InvalidName:
        return
    identity = Identity.from_certificate(certificate)
    assert (identity.emails, identity.uris, identity.dns_names) == (names.emails, names.uris, names.dns_names)
    assert len(names.emails) <= len(emails)


@settings(max_examples=200)
@given(TEXT | st.ip_addresses().map(str))
def test_any_text_is_an_ip_address_or_refused(text: str) -> None:
    """An address parses to itself; no other text raises anything but InvalidName."""
    try:
        assert parse_ip_address(parse_ip_address(text)) == parse_ip_address(text)
    except InvalidName:
        return
