"""Who a certificate speaks of: the only place that knows how a subject alternative name (SAN) becomes a name.

The name is the first rfc822Name, else the first URI, else the first DNS name. The common name never is,
unless asked for (RFC 9525 6.3). One entry that could be read in two ways (a NUL, a newline, a blank at an
end, another alphabet) spoils the whole certificate: two programs must not see two people in it
(CVE-2013-4238).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.errors import IdentityError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Identity", "Purpose"]

Kind = Literal["email", "uri", "dns", "cn"]

# RFC 9598: a mailbox outside ASCII. Comparing it needs rules that few programs agree on, so it is refused.
_SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")

# RFC 5322 3.2.3 atoms and dots. Quoted local parts ("a b"@x.io) may hold blanks and another @: refused.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
# RFC 1123 2.1 labels. Underscores make no host name, but they are in use and mislead nobody.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# RFC 3986 2: the characters of a URI, with a scheme (3.1) and something behind it.
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+)")
_AUTHORITY = re.compile(r"//([^/?#]*)(.*)", re.DOTALL)
# The SPIFFE ID specification, sections 2.1 to 2.3.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_SPIFFE_LENGTH = 2048


class Purpose(Enum):
    """What a certificate may be presented for (RFC 5280 4.2.1.12)."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified certificate in the words of an application. Two reads of one certificate are equal.

    Names are in the certificate's order, their domains in lower case, local parts of emails exact. `serial`
    and `sha256` are lower-case hexadecimal without padding or separators, the dates are aware and in UTC,
    `issuer` is an RFC 4514 string.
    """

    name: str
    kind: Kind
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime
    issuer: str

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate, *, allow_common_name: bool = False) -> Identity:
        """Read the identity of a certificate *that was verified*: nothing is verified here.

        `allow_common_name` takes the subject's common name where the SAN holds no name.
        Raises IdentityError where there is no name or a forbidden one, or the certificate cannot be parsed.
        """
        try:
            san = _alternative_names(certificate)
            common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            serial = format(certificate.serial_number, "x")
            not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            issuer = certificate.issuer.rfc4514_string()
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise IdentityError(f"the certificate cannot be read: {error}") from error

        emails = tuple(check_email(entry.value) for entry in san if isinstance(entry, x509.RFC822Name))
        uris = tuple(check_uri(entry.value) for entry in san if isinstance(entry, x509.UniformResourceIdentifier))
        dns_names = tuple(check_dns_name(entry.value) for entry in san if isinstance(entry, x509.DNSName))
        check_uris(uris)
        if any(isinstance(entry, x509.OtherName) and entry.type_id == _SMTP_UTF8_MAILBOX for entry in san):
            raise IdentityError("the certificate holds a SmtpUTF8Mailbox, a mailbox outside ASCII: refused")

        kind: Kind
        if emails:
            name, kind = emails[0], "email"
        elif uris:
            name, kind = uris[0], "uri"
        elif dns_names:
            name, kind = dns_names[0], "dns"
        elif allow_common_name and common_names:
            name, kind = _common_name(common_names), "cn"
        else:
            raise IdentityError("the certificate names nobody: it has no email, URI or DNS name in its SAN")
        return cls(
            name=name,
            kind=kind,
            emails=emails,
            uris=uris,
            dns_names=dns_names,
            serial=serial,
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=not_before,
            not_after=not_after,
            issuer=issuer,
        )


def has_purpose(certificate: x509.Certificate, purpose: Purpose) -> bool:
    """Whether the extended key usage is *present* and names this purpose.

    OpenSSL lets a certificate without the extension pass for everything. anyExtendedKeyUsage counts for
    nothing, and a certificate whose extensions cannot be parsed has no purpose.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    return purpose.value in usage


def check_email(text: str) -> str:
    """The address with its domain in lower case; the local part is left as it is (RFC 5321 2.4).

    Raises IdentityError for anything but `atoms-and-dots@domain` in ASCII.
    """
    _check_plain(text, "email")
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local):
        raise IdentityError(f"the email {text!r} is not of the form local-part@domain")
    try:
        return f"{local}@{_check_domain(domain)}"
    except IdentityError as error:
        raise IdentityError(f"the email {text!r} has no valid domain behind its @") from error


def check_uri(text: str) -> str:
    """The URI with its scheme and host in lower case (RFC 3986 6.2.2.1); the rest is left as it is.

    Raises IdentityError for anything that is not an absolute URI, and for a `spiffe:` one that breaks the
    rules of SPIFFE IDs: a trust domain, plain segments, and no port, user, query or fragment.
    """
    _check_plain(text, "URI")
    match = _URI.fullmatch(text)
    if match is None:
        raise IdentityError(f"the URI {text!r} is not of the form scheme:rest")
    scheme, rest = match[1].lower(), match[2]
    if authority := _AUTHORITY.fullmatch(rest):
        user, at, host = authority[1].rpartition("@")
        rest = f"//{user}{at}{host.lower()}{authority[2]}"
    if scheme == "spiffe":
        _check_spiffe(text, rest)
    return f"{scheme}:{rest}"


def check_uris(uris: tuple[str, ...]) -> None:
    """Raise IdentityError where a SPIFFE ID is not the only URI (X509-SVID 2: "exactly one URI SAN")."""
    if len(uris) > 1 and any(uri.startswith("spiffe:") for uri in uris):
        raise IdentityError("a SPIFFE ID must be the only URI of its certificate")


def check_dns_name(text: str) -> str:
    """The DNS name in lower case; `*.` in front is allowed, as servers have it.

    Raises IdentityError for anything but letters, digits, hyphens and underscores in labels of up to 63.
    """
    _check_plain(text, "DNS name")
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + _check_domain(text.removeprefix("*."))


def _alternative_names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _check_plain(text: str, what: str) -> None:
    """Refuse what a person does not see and programs read differently."""
    if not text:
        raise IdentityError(f"an empty {what} is not allowed")
    if not text.isascii():
        raise IdentityError(f"the {what} {text!a} holds characters outside ASCII")
    if not text.isprintable():
        raise IdentityError(f"the {what} {text!r} holds NUL or control characters")
    if text != text.strip():
        raise IdentityError(f"the {what} {text!r} begins or ends with a blank")


def _check_domain(text: str) -> str:
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise IdentityError(f"the DNS name {text!r} is not valid")
    return text.lower()


def _check_spiffe(text: str, rest: str) -> None:
    match = _AUTHORITY.fullmatch(rest)
    if match is None or not _TRUST_DOMAIN.fullmatch(match[1]):
        raise IdentityError(f"the SPIFFE ID {text!r} has no valid trust domain: spiffe://trust-domain/path")
    segments = match[2].split("/")[1:]
    if match[2][:1] not in ("", "/") or not all(
        _SPIFFE_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments
    ):
        raise IdentityError(f"the SPIFFE ID {text!r} has no valid path: letters, digits, '.', '-' and '_' between '/'")
    if len(text) > _SPIFFE_LENGTH:
        raise IdentityError(f"the SPIFFE ID is longer than {_SPIFFE_LENGTH} characters")


def _common_name(attributes: list[x509.NameAttribute[str | bytes]]) -> str:
    value = attributes[0].value
    if len(attributes) > 1:
        raise IdentityError("the certificate has several common names: none of them is its name")
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        raise IdentityError(f"the common name {value!r} holds control characters, or blanks at an end")
    return value
