"""An authority that issues what a sound one refuses to: every fault a client certificate can have."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ALICE = x509.RFC822Name("alice@example.com")


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, with the authority that a client of the server trusts."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trust: x509.Certificate

    def save(self, folder: Path) -> Path:
        """Write `tls.crt`, `tls.key` and `ca.crt`."""
        folder.mkdir(mode=0o700, parents=True)
        (folder / "tls.key").touch(0o600)
        (folder / "tls.key").write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        (folder / "tls.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        (folder / "ca.crt").write_bytes(self.trust.public_bytes(Encoding.PEM))
        return folder


class Issuer:
    """A certificate authority without scruples."""

    def __init__(self, name: str = "Faults CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name))
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_key_usage(signs_certificates=True, signs=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def below(self, name: str) -> Issuer:
        """An authority below this one, which a client sends along."""
        made = Issuer(name)
        builder = x509.CertificateBuilder(
            issuer_name=self.certificate.subject,
            subject_name=made.certificate.subject,
            public_key=made.certificate.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=made.certificate.not_valid_before_utc,
            not_valid_after=made.certificate.not_valid_after_utc,
        )
        for value, critical in (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_key_usage(signs_certificates=True, signs=False), True),
            (x509.SubjectKeyIdentifier.from_public_key(made._key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ):
            builder = builder.add_extension(value, critical)
        made.certificate = builder.sign(self._key, hashes.SHA256())
        return made

    def issue(
        self,
        common_name: str = "alice",
        *,
        san: Sequence[x509.GeneralName] = (ALICE,),
        purposes: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        valid_from: timedelta = timedelta(minutes=-1),
        valid_for: timedelta = timedelta(days=1),
        key: ec.EllipticCurvePrivateKey | None = None,
        ca: bool = False,
        signs_certificates: bool = False,
        trust: x509.Certificate | None = None,
    ) -> Issued:
        key = key or ec.generate_private_key(ec.SECP256R1())
        start = datetime.now(UTC) + valid_from
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + valid_for)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=signs_certificates), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()), key, trust or self.certificate)

    def revocation_list(
        self,
        *serials: int,
        number: int = 1,
        signed: timedelta = timedelta(0),
        stale: timedelta = timedelta(hours=1),
    ) -> bytes:
        """A list of these serial numbers, PEM; `signed` and `stale` are counted from now."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now + signed)
            .next_update(now + stale)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def client_context(folder: Path | None, *, trust: Path, alpn: Sequence[str] = ("h2",)) -> ssl.SSLContext:
    """A client that trusts `trust` and presents the credential folder, if any. It accepts weak keys of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trust)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if folder is not None:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
