"""What kinds of certificates there are: their extensions as data (RFC 5280 4.2).

Every certificate has critical basicConstraints and keyUsage, subject and authority key identifiers, and exactly
the purposes of its profile. A leaf signs handshakes and nothing else: all cipher suites that we speak agree keys
by (EC)DHE, so keyEncipherment has no use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from pki.errors import InvalidName
from pki.identity import Purpose
from pki.names import parse_dns_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pki.names import Names
    from pki.pem import PublicKey

_NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of certificate. `lifetime` is what it gets where nobody asks for another."""

    label: str
    lifetime: timedelta
    purposes: tuple[Purpose, ...] = ()
    key_usage: tuple[str, ...] = ("digital_signature",)
    authority: bool = False
    path_length: int | None = None
    """How many authorities may stand between this one and a leaf (RFC 5280 4.2.1.9): 0 signs leaves alone."""

    def extensions(
        self, names: Names | None, key: PublicKey, issuer: x509.SubjectKeyIdentifier | None
    ) -> Iterator[tuple[x509.ExtensionType, bool]]:
        """The extensions of such a certificate, each with whether it is critical.

        `issuer` is the signer's subject key identifier, None where the certificate signs itself.
        """
        own = x509.SubjectKeyIdentifier.from_public_key(key)
        yield x509.BasicConstraints(ca=self.authority, path_length=self.path_length), True
        yield x509.KeyUsage(**(_NO_USAGE | dict.fromkeys(self.key_usage, True))), True
        if self.purposes:
            yield x509.ExtendedKeyUsage([purpose.value for purpose in self.purposes]), False
        if names is not None:
            yield x509.SubjectAlternativeName(names.general_names()), False
        yield own, False
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer or own), False

    def completed(self, names: Names) -> Names:
        """The names as this profile takes them. Raises InvalidName where one is missing or has no place here."""
        return names


@dataclass(frozen=True, slots=True)
class ServerProfile(Profile):
    """Presented by a server: named by what clients connect to."""

    label: str = "server"
    lifetime: timedelta = timedelta(days=30)
    purposes: tuple[Purpose, ...] = (Purpose.SERVER,)

    def completed(self, names: Names) -> Names:
        """With no DNS name and no IP address, the credential's own name serves where it is a host name."""
        if names.dns_names or names.ip_addresses:
            return names
        if host := _host_name(names.name):
            return replace(names, dns_names=(host,))
        raise InvalidName(f"a server needs a name that clients connect to: pass --dns {names.name}.example or --ip")


@dataclass(frozen=True, slots=True)
class ClientProfile(Profile):
    """Presented by a client: named by who it is. Short-lived, as people and laptops come and go."""

    label: str = "client"
    lifetime: timedelta = timedelta(days=7)
    purposes: tuple[Purpose, ...] = (Purpose.CLIENT,)

    def completed(self, names: Names) -> Names:
        """Needs an email, a URI or a DNS name, since a server reads nothing else as its name."""
        if not (names.emails or names.uris or names.dns_names):
            raise InvalidName("a client needs a name that servers read: pass --email, --uri or --dns")
        _refuse_wildcards(names)
        return names


@dataclass(frozen=True, slots=True)
class PeerProfile(Profile):
    """Presented by a service that serves and calls. It lives as long as a server, since it is one."""

    label: str = "peer"
    lifetime: timedelta = timedelta(days=30)
    purposes: tuple[Purpose, ...] = (Purpose.SERVER, Purpose.CLIENT)

    def completed(self, names: Names) -> Names:
        """Needs what a client connects to (for SPIFFE that is the URI) and what a server reads as its name."""
        if not (names.dns_names or names.ip_addresses or names.uris) and (host := _host_name(names.name)):
            names = replace(names, dns_names=(host,))
        if not (names.dns_names or names.ip_addresses or names.uris):
            raise InvalidName("a peer serves as well, so clients need a name to connect to: pass --dns or --ip")
        if not (names.emails or names.uris or names.dns_names):
            raise InvalidName("a peer calls as well, so servers need a name to read: pass --email, --uri or --dns")
        _refuse_wildcards(names)
        return names


@dataclass(frozen=True, slots=True)
class AuthorityProfile(Profile):
    """The trust anchor: signs leaves and revocation lists."""

    label: str = "authority"
    lifetime: timedelta = timedelta(days=3650)
    key_usage: tuple[str, ...] = ("key_cert_sign", "crl_sign")
    authority: bool = True
    path_length: int | None = 0


@dataclass(frozen=True, slots=True)
class RootProfile(AuthorityProfile):
    """A trust anchor that signs one authority below it, and then leaves the machine."""

    label: str = "root"
    path_length: int | None = 1


@dataclass(frozen=True, slots=True)
class IntermediateProfile(AuthorityProfile):
    """The authority below a root: signs leaves and revocation lists, and travels with the leaves that it signed."""

    label: str = "intermediate"


@dataclass(frozen=True, slots=True)
class SelfSignedProfile(Profile):
    """One certificate that is authority, server and client at once: for a first try, not for a second machine."""

    label: str = "self-signed"
    lifetime: timedelta = timedelta(days=30)
    purposes: tuple[Purpose, ...] = (Purpose.SERVER, Purpose.CLIENT)
    key_usage: tuple[str, ...] = ("digital_signature", "key_cert_sign", "crl_sign")
    authority: bool = True
    path_length: int | None = 0


# What can be issued, by the words of the command line and of the records.
LEAF_PROFILES: dict[str, Profile] = {
    profile.label: profile for profile in (ServerProfile(), ClientProfile(), PeerProfile())
}


def _host_name(name: str) -> str | None:
    if "." not in name and name != "localhost":
        return None
    try:
        return parse_dns_name(name)
    except InvalidName:
        return None


def _refuse_wildcards(names: Names) -> None:
    for dns_name in names.dns_names:
        if dns_name.startswith("*"):
            raise InvalidName(f"{dns_name} stands for many: a caller is one, so pass its own DNS name")
