"""Authorizer: a function that says whether an identity is meant. Built by name, put together by `any_of` and `all_of`.

  ops = any_of(allow_email("*@ops.example.com"), allow_uri("spiffe://example.com/ops/*"))

A pattern is exact but for one `*`, at the one place where a kind of name has room for it: the local part of an email,
the labels left of a domain, the rest of a URI behind a `/`. It is therefore a key: `keys_of` says under which keys an
identity is found, and ten thousand patterns are one look into a dictionary.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from cryptography import x509

from pki.errors import IdentityError, InvalidName
from pki.identity import check_dns_name, check_email, check_uri
from pki.names import parse_dns_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pki.identity import Identity

__all__ = [
    "ANYBODY",
    "Authorizer",
    "PatternError",
    "all_of",
    "allow_dns",
    "allow_email",
    "allow_fingerprint",
    "allow_issuer",
    "allow_uri",
    "any_of",
    "deny",
]

Authorizer: TypeAlias = "Callable[[Identity], bool]"

ANYBODY = "*"
"""The pattern that means every caller: authenticated all of them are."""


class PatternError(ValueError):
    """A pattern of names that cannot be meant; the message says why."""


def allow_email(pattern: str) -> Authorizer:
    """`alice@example.com`, or `*@example.com` for every mailbox of exactly that domain. Raises PatternError."""
    return _by_key(f"email:{pattern}")


def allow_uri(pattern: str) -> Authorizer:
    """A whole URI, or `spiffe://example.com/ops/*` for whatever is below; `spiffe://example.com/*` is a trust domain.

    Raises PatternError.
    """
    return _by_key(f"uri:{pattern}")


def allow_dns(pattern: str) -> Authorizer:
    """A whole name, or `*.example.com` for every name below, at any depth and not itself. Raises PatternError."""
    return _by_key(f"dns:{pattern}")


def allow_fingerprint(sha256: str) -> Authorizer:
    """The one certificate with this SHA-256, in hexadecimal. Raises PatternError."""
    return _by_key(f"sha256:{sha256}")


def allow_issuer(name: str) -> Authorizer:
    """Whom this authority has signed: its name as RFC 4514 text, as in `CN=Example CA`. Raises PatternError."""
    return _by_key(f"issuer:{name}")


def any_of(*authorizers: Authorizer) -> Authorizer:
    """Whom one of them means; nobody, if there is none."""
    return lambda identity: any(authorizer(identity) for authorizer in authorizers)


def all_of(first: Authorizer, *others: Authorizer) -> Authorizer:
    """Whom each of them means."""
    return lambda identity: all(authorizer(identity) for authorizer in (first, *others))


def deny(authorizer: Authorizer) -> Authorizer:
    """Everybody but whom this one means."""
    return lambda identity: not authorizer(identity)


def key_of(pattern: str) -> str:
    """The key of a pattern `KIND:NAME`: domains in lower case, fingerprints without colons. Raises PatternError."""
    if pattern == ANYBODY:
        return ANYBODY
    kind, colon, name = pattern.partition(":")
    if not colon or kind not in _READERS:
        raise PatternError(f"{pattern!r} is no pattern: it begins with {', '.join(f'{kind}:' for kind in _READERS)}")
    if not name or name != name.strip() or any(not char.isprintable() for char in name):
        raise PatternError(f"{pattern!r} names nobody, or holds what no name does")
    return f"{kind}:{_READERS[kind](name)}"


def keys_of(identity: Identity) -> frozenset[str]:
    """Every key whose pattern means this identity."""
    keys = {ANYBODY, f"sha256:{identity.sha256}", f"issuer:{identity.issuer}"}
    for email in identity.emails:
        keys.update(_with_wider(f"email:{email}"))
    for uri in identity.uris:
        keys.update(_with_wider(f"uri:{uri}"))
    for name in identity.dns_names:
        keys.update(_with_wider(f"dns:{name}"))
    return frozenset(keys)


def covers(wider: str, narrower: str) -> bool:
    """Whether everybody whom the key `narrower` means is meant by `wider`."""
    return wider in wider_keys(narrower)


def wider_keys(key: str) -> frozenset[str]:
    """Every key that covers this one, itself included."""
    return frozenset((ANYBODY, *_with_wider(key)))


def _by_key(pattern: str) -> Authorizer:
    key = key_of(pattern)
    return lambda identity: key in keys_of(identity)


def _with_wider(key: str) -> Iterator[str]:
    yield key
    kind, _, name = key.partition(":")
    if kind == "email":
        yield f"email:*@{name.rpartition('@')[2]}"
    elif kind == "dns":
        rest = name.removeprefix("*.")
        while "." in rest:
            rest = rest.partition(".")[2]
            yield f"dns:*.{rest}"
    elif kind == "uri":
        scheme, separator, rest = name.removesuffix("/*").partition("://")
        while "/" in rest:
            rest = rest.rpartition("/")[0]
            yield f"uri:{scheme}{separator}{rest}/*"


def _email(name: str) -> str:
    local, at, domain = name.rpartition("@")
    if local == "*":
        return f"*@{_domain(domain, f'email:{name}')}"
    if not at or "*" in name:
        raise PatternError(f"email:{name} is no pattern: write name@example.com or *@example.com")
    return _checked(check_email, f"{local}@{_domain(domain, f'email:{name}')}")


def _dns(name: str) -> str:
    rest = name.removeprefix("*.")
    if "*" in rest:
        raise PatternError(f"dns:{name} is no pattern: write name.example.com or *.example.com")
    return name[: len(name) - len(rest)] + _domain(rest, f"dns:{name}")


def _uri(name: str) -> str:
    whole = name.removesuffix("/*")
    if "*" in whole or (whole != name and not urlsplit(whole).netloc):
        raise PatternError(f"uri:{name} is no pattern: write a whole URI, or spiffe://example.com/ops/*")
    # Scheme and host are compared in lower case (RFC 3986 section 6.2.2.1), as identities have them.
    return _checked(check_uri, whole) + name[len(whole) :]


def _domain(domain: str, pattern: str) -> str:
    """As certificates have it: lower-case A-labels (RFC 9598 section 3)."""
    try:
        plain = domain if domain.isascii() else parse_dns_name(domain)
    except InvalidName as error:
        raise PatternError(f"{pattern} is no pattern: {error}") from None
    if not domain or plain.startswith("*."):
        raise PatternError(f"{pattern} is no pattern: it has no domain")
    return _checked(check_dns_name, plain)


def _checked(check: Callable[[str], str], name: str) -> str:
    """As `Identity` reads it from a certificate; a name that none would hold can never match."""
    try:
        return check(name)
    except IdentityError as error:
        raise PatternError(f"{name!r} can never match: {error}") from None


def _fingerprint(name: str) -> str:
    plain = name.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", plain):
        raise PatternError(f"sha256:{name} is no fingerprint: it has 64 hexadecimal digits")
    return plain


def _issuer(name: str) -> str:
    try:
        return x509.Name.from_rfc4514_string(name).rfc4514_string()
    except ValueError:  # also for attributes that have no short name: those are compared as they are written
        if "=" not in name or "*" in name:
            raise PatternError(f"issuer:{name} is no pattern: write the whole name, as in CN=Example CA") from None
        return name


_READERS: dict[str, Callable[[str], str]] = {
    "email": _email,
    "uri": _uri,
    "dns": _dns,
    "sha256": _fingerprint,
    "issuer": _issuer,
}
