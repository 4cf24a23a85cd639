"""Names that somebody typed, on their way into a certificate.

Stricter than `pki.identity`, which reads what other authorities have issued: what passes here passes there, and
reads back equal. Domains become lower-case A-labels (RFC 5890), so `Bücher.example` and `xn--bcher-kva.example`
are one name.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from pki.errors import IdentityError, InvalidName
from pki.identity import check_email, check_uri, check_uris

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Also a file name, and at most the 64 characters of a common name (RFC 5280, ub-common-name).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_COMMON_NAME_LENGTH = 64
# RFC 3986 2.1: an escape is two hexadecimal digits.
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
# RFC 3986 3.2: [userinfo "@"] host [":" port], behind "//" and before the path.
_AUTHORITY = re.compile(r"[^:]+://(?:[^@/?#]*@)?(\[[^\]]*\]|[^:/?#]*)(?::([0-9]*))?(?:[/?#].*)?")
# RFC 5321 4.5.3.1.3: a path of 256 characters, less its angle brackets.
_EMAIL_LENGTH = 254
_LAST_PORT = 65_535
# The longest SPIFFE ID (SPIFFE-ID 2.3), and longer than any of the others may be. Who typed more mistook a file for it.
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that one certificate says of its holder, checked and normalised: make it by `parse`.

    `name` is the subject's common name and the name of the credential in the state folder; the rest are the
    subject alternative names, each in its order and without duplicates.
    """

    name: str
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        name: str,
        *,
        emails: Iterable[str] = (),
        uris: Iterable[str] = (),
        dns_names: Iterable[str] = (),
        ip_addresses: Iterable[str] = (),
    ) -> Names:
        """Raises InvalidName, which says what is wrong with which of them."""
        emails, uris, dns_names, ip_addresses = (tuple(some) for some in (emails, uris, dns_names, ip_addresses))
        longest = max(map(len, (name, *emails, *uris, *dns_names, *ip_addresses)))
        if longest > _LONGEST:
            raise InvalidName(f"a name of {longest} characters is too long: use up to {_LONGEST}")
        names = cls(
            name=parse_name(name),
            emails=_each(parse_email, emails),
            uris=_each(parse_uri, uris),
            dns_names=_each(parse_dns_name, dns_names),
            ip_addresses=_each(parse_ip_address, ip_addresses),
        )
        try:
            check_uris(names.uris)
        except IdentityError as error:
            raise InvalidName(str(error)) from error
        return names

    def general_names(self) -> list[x509.GeneralName]:
        """The subject alternative names (RFC 5280 4.2.1.6): emails, URIs, DNS names, IP addresses."""
        return [
            *map(x509.RFC822Name, self.emails),
            *map(x509.UniformResourceIdentifier, self.uris),
            *map(x509.DNSName, self.dns_names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in self.ip_addresses),
        ]

    def described(self) -> str:
        """All of them in one line for a person."""
        return ", ".join((*self.emails, *self.uris, *self.dns_names, *self.ip_addresses))


def parse_name(text: str) -> str:
    """The name of a credential. Raises InvalidName."""
    if not _NAME.fullmatch(text):
        raise InvalidName(
            f"{text!a} cannot be the name of a credential: use up to 64 letters, digits, '.', '_', '@' and '-', "
            "a letter or digit first"
        )
    return text


def parse_authority_name(text: str) -> str:
    """The common name of an authority: any text that a person can read, up to 64 characters."""
    if not 0 < len(text) <= _COMMON_NAME_LENGTH or not text.isprintable() or text != text.strip():
        raise InvalidName(
            f"{text!a} cannot be the name of an authority: use 1 to 64 printable characters, no blank at an end"
        )
    return text


def parse_dns_name(text: str) -> str:
    """A DNS name as lower-case A-labels; `*.` may stand in front (RFC 9525 6.3). Raises InvalidName."""
    host = text.removeprefix("*.")
    if _is_ip_address(host):
        raise InvalidName(f"{text!a} is an IP address, not a DNS name: pass it with --ip")
    return text[: len(text) - len(host)] + _parse_domain(host, text)


def parse_email(text: str) -> str:
    """A mailbox, its domain as lower-case A-labels, its local part as it is. Raises InvalidName."""
    local, at, domain = text.rpartition("@")
    if not at or not all(_ATOM.fullmatch(atom) for atom in local.split(".")):
        raise InvalidName(f"{text!a} is not an email address: it looks like alice@example.com, in ASCII before the @")
    email = f"{local}@{_parse_domain(domain, text)}"
    if len(email) > _EMAIL_LENGTH:
        raise InvalidName(f"the email address {text!a} is longer than {_EMAIL_LENGTH} characters")
    return _checked(check_email, email)


def parse_uri(text: str) -> str:
    """An absolute URI; one that begins with `spiffe:` has to be a SPIFFE ID. Raises InvalidName.

    One with `//` has to name a host, a domain or an IP address (RFC 5280 4.2.1.6).
    """
    if not text.isascii():
        raise InvalidName(f"the URI {text!a} holds characters outside ASCII: percent-encode them (RFC 3986 2.1)")
    uri = _checked(check_uri, text)
    if _BAD_ESCAPE.search(uri):
        raise InvalidName(f"the URI {text!a} holds a '%' that is no escape: write two hexadecimal digits behind it")
    if _ESCAPED_CONTROL.search(uri):
        raise InvalidName(f"the URI {text!a} holds NUL or control characters, as escapes")
    scheme, _, rest = uri.partition(":")
    if rest.startswith("//") and scheme not in ("spiffe", "file"):
        _check_authority(uri, text)
    return uri


def _check_authority(uri: str, text: str) -> None:
    found = _AUTHORITY.fullmatch(uri)
    if found is None or not found[1]:
        raise InvalidName(f"the URI {text!a} names no host behind its '//': it looks like https://example.com/orders")
    host, port = found[1], found[2]
    literal = host.startswith("[")
    if not (literal and ":" in host and _is_ip_address(host[1:-1])) and (literal or not _is_ip_address(host)):
        _parse_domain(host, text)
    if port is not None and not 0 < int(port or 0) <= _LAST_PORT:
        raise InvalidName(f"the URI {text!a} holds no valid port: a number from 1 to {_LAST_PORT}")


def parse_ip_address(text: str) -> str:
    """An IPv4 or IPv6 address in its canonical form; no zone, no network. Raises InvalidName."""
    if not _is_ip_address(text) or "%" in text:
        raise InvalidName(f"{text!a} is not an IP address: it looks like 192.0.2.1 or 2001:db8::1")
    return str(ipaddress.ip_address(text))


def _parse_domain(domain: str, text: str) -> str:
    """Lower-case A-labels of a host name (RFC 1123 2.1, RFC 5891). `text` is what was typed, for the message."""
    labels = domain.lower().split(".")
    if not domain.isascii() or any(label.startswith("xn--") for label in labels):
        # Imported here: the tables take longer to load than most commands take to run.
        import idna

        try:
            labels = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii").split(".")
        except UnicodeError as error:
            raise InvalidName(f"{text!a} holds no valid internationalised domain name: {error}") from error
    ascii_domain = ".".join(labels)
    if len(ascii_domain) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise InvalidName(
            f"{text!a} holds no valid domain name: labels of letters, digits and '-' with '.' between them"
        )
    if labels[-1].isdigit():
        raise InvalidName(f"{text!a} holds no valid domain name: the last label cannot be a number")
    return ascii_domain


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _checked(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except IdentityError as error:
        raise InvalidName(str(error)) from error


def _each(parse: Callable[[str], str], texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse(text) for text in texts))
