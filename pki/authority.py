"""CertificateAuthority: signs certificates. No clock, no files: the time and the names are passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from pki.errors import CorruptState, StateError, UsageError
from pki.keys import signature_hash
from pki.names import parse_authority_name
from pki.profiles import AuthorityProfile, IntermediateProfile, Profile, RootProfile, SelfSignedProfile
from pki.trust import is_authority, was_issued_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pki.names import Names
    from pki.pem import PrivateKey, PublicKey

# Clocks differ: a certificate is valid from a minute before it was made.
BACKDATING = timedelta(minutes=1)
# What the authority below a root is called, behind the root's name.
ISSUING = " Issuing"
# GeneralizedTime has four digits for the year (RFC 5280 4.1.2.5), and so has datetime.
_TOO_LONG = "certificates end in the year 9999 at the latest: pass fewer --days"
_MOST_DAYS = (datetime.max - datetime(2026, 1, 1)).days  # noqa: DTZ001, DTZ901 - `end_of` looks at the clock


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A certificate that may sign others, and its key; they match. `root` signed it, unless it signed itself."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False, compare=False)
    root: x509.Certificate | None = None

    def __post_init__(self) -> None:
        try:
            belongs = self.certificate.public_key() == self.key.public_key()
        except (ValueError, UnsupportedAlgorithm):
            belongs = False
        if not belongs:
            raise CorruptState("the key does not belong to the authority's certificate")
        if not is_authority(self.certificate):
            raise CorruptState("the certificate is no authority's (basicConstraints CA:TRUE)")
        if self.root is not None and not was_issued_by(self.certificate, self.root):
            raise CorruptState("the root's certificate did not sign the authority's")

    @property
    def anchor(self) -> x509.Certificate:
        """What others trust: the root, or the authority itself where it has none."""
        return self.root or self.certificate

    @property
    def sent_along(self) -> tuple[x509.Certificate, ...]:
        """What follows a leaf in its chain, so that who has the anchor alone can verify it (RFC 8446 4.4.2)."""
        return (self.certificate,) if self.root else ()

    @classmethod
    def create(
        cls, name: str, key: PrivateKey, *, now: datetime, lifetime: timedelta | None = None
    ) -> CertificateAuthority:
        """A new authority that signs itself. Raises UsageError for a bad name or lifetime."""
        return cls(_anchor(AuthorityProfile(), name, key, now, lifetime), key)

    @classmethod
    def create_below_root(
        cls, name: str, root_key: PrivateKey, key: PrivateKey, *, now: datetime, lifetime: timedelta | None = None
    ) -> CertificateAuthority:
        """A root of this name, and the authority below it that signs from then on; both end on the same day.

        Raises UsageError for a bad name or lifetime.
        """
        below = parse_authority_name(name + ISSUING)
        root = _anchor(RootProfile(), name, root_key, now, lifetime)
        above = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        public_key, end = key.public_key(), root.not_valid_after_utc
        extensions = IntermediateProfile().extensions(None, public_key, above)
        builder = _builder(_common_name(below), root.subject, public_key, now, end, extensions)
        return cls(_sign(builder, root_key), key, root)

    def issue(
        self,
        profile: Profile,
        names: Names,
        public_key: PublicKey,
        *,
        now: datetime,
        lifetime: timedelta | None = None,
    ) -> x509.Certificate:
        """Sign a leaf: its subject is the name alone, its end is the authority's own where that comes first.

        The serial number has 159 random bits (RFC 5280 4.1.2.2), and the dates are in whole seconds. Raises
        InvalidName where the profile misses a name, UsageError for a bad lifetime, StateError where the authority
        is not valid at `now`.
        """
        self.check_valid(now)
        end = min(end_of(now, lifetime or profile.lifetime), self.certificate.not_valid_after_utc)
        names = profile.completed(names)
        extensions = profile.extensions(names, public_key, self._key_identifier)
        subject, issuer = _common_name(names.name), self.certificate.subject
        return _sign(_builder(subject, issuer, public_key, now, end, extensions), self.key)

    def check_valid(self, now: datetime) -> None:
        """Raise StateError where the authority has not begun or has ended: nobody would accept what it signs."""
        self.check_begun(now)
        end = self.certificate.not_valid_after_utc
        if now > end:
            raise StateError(
                f"the authority has ended on {end:%Y-%m-%d}: move its folder away and make another with `init`"
            )

    def check_begun(self, now: datetime) -> None:
        """Raise StateError where the authority has not begun: the clock is wrong, and so would be what it signs."""
        begin = self.certificate.not_valid_before_utc
        if now < begin:
            raise StateError(f"the authority begins at {begin:%Y-%m-%d %H:%M:%S} UTC: set the clock of this machine")

    @property
    def authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """What certificates and lists signed here say of who signed them (RFC 5280 4.2.1.1, 5.2.1)."""
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._key_identifier)

    @property
    def _key_identifier(self) -> x509.SubjectKeyIdentifier:
        try:
            return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:  # not one that we made
            return x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())


def self_signed(names: Names, key: PrivateKey, *, now: datetime, lifetime: timedelta | None = None) -> x509.Certificate:
    """One certificate that is its own authority, server and client. Raises UsageError for a bad lifetime."""
    profile = SelfSignedProfile()
    end = end_of(now, lifetime or profile.lifetime)
    return _self_sign(profile, names, _common_name(names.name), key, now, end)


def lifetime_of(days: int) -> timedelta:
    """A lifetime in days, as people give it. Raises UsageError for none at all or one past the year 9999."""
    if days < 1:
        raise UsageError(f"a lifetime of {days} days is none: pass --days 1 or more")
    if days > _MOST_DAYS:
        raise UsageError(_TOO_LONG)
    return timedelta(days=days)


def end_of(now: datetime, lifetime: timedelta) -> datetime:
    """When a certificate of this lifetime ends, in whole seconds. Raises UsageError past the year 9999."""
    try:
        return (now + lifetime).astimezone(UTC).replace(microsecond=0)
    except OverflowError as error:
        raise UsageError(_TOO_LONG) from error


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _anchor(
    profile: AuthorityProfile, name: str, key: PrivateKey, now: datetime, lifetime: timedelta | None
) -> x509.Certificate:
    end = end_of(now, lifetime or profile.lifetime)
    return _self_sign(profile, None, _common_name(parse_authority_name(name)), key, now, end)


def _self_sign(
    profile: Profile, names: Names | None, subject: x509.Name, key: PrivateKey, now: datetime, end: datetime
) -> x509.Certificate:
    public_key = key.public_key()
    extensions = profile.extensions(names, public_key, None)
    return _sign(_builder(subject, subject, public_key, now, end, extensions), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    now: datetime,
    end: datetime,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    # All at once: each of the builder's methods copies it and checks anew, which takes longer than the signature.
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=_plain(now - BACKDATING),
        not_valid_after=_plain(end),
        extensions=[x509.Extension(extension.oid, critical, extension) for extension, critical in extensions],
    )


def _plain(moment: datetime) -> datetime:
    """UTC in whole seconds, without saying so: what the constructor takes, and ASN.1 holds."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, signature_hash(key))
