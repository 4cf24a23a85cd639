"""A certificate for a key that was made here: the request for it, and the answer, into a credential.

The private key never leaves. What the server answers is checked before it is used: that the certificate is for our
key, is of the identity that we had, and leads to an authority that is handed out with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from clients.errors import BadResponse, CredentialProblem
from pki.credential import LISTS, Credential, locate
from pki.errors import PKIError
from pki.identity import Identity
from pki.pem import parse_certificates
from pki.trust import TrustBundle, was_issued_by
from services.contracts.handclasp.enrollment.v1.enrollment_pb import (
    EnrollRequest,
    EnrollResponse,
    RenewRequest,
    RenewResponse,
)

if TYPE_CHECKING:
    from pathlib import Path

    from services.contracts.handclasp.enrollment.v1.enrollment_pb import Issued

RENEW_PATH = "/handclasp.enrollment.v1.EnrollmentService/Renew"
FIELDS = {"content-type": "application/proto", "connect-protocol-version": "1"}
"""The header of both calls: Connect's, in binary."""
ENROLL_PATH = "/handclasp.enrollment.v1.BootstrapService/Enroll"


@dataclass(frozen=True, slots=True)
class Renewed:
    """A credential that was just made, and whom to trust with it."""

    credential: Credential
    trust: TrustBundle

    def save(self, folder: Path) -> None:
        """Put it into a folder as one change, beside the revocation lists that are there. Raises CredentialProblem."""
        try:
            lists = _lists(folder)
            self.credential.save(folder, self.trust, lists)
        except (PKIError, OSError) as error:
            raise CredentialProblem(f"our credential: {error}") from error


class Application:
    """A new key, and what asks for a certificate of it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        # No names: they are the authority's to give (RFC 2986 section 4.1 allows an empty subject).
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self._key, hashes.SHA256())
        self._csr = request.public_bytes(Encoding.DER)

    def renewal(self) -> bytes:
        """The body of a Renew call."""
        return RenewRequest(csr=self._csr).to_binary()

    def enrollment(self, token: str) -> bytes:
        """The body of an Enroll call."""
        return EnrollRequest(csr=self._csr, token=token).to_binary()

    def renewed(self, body: bytes, before: Credential) -> Renewed:
        """The credential in the answer to a Renew call. Raises BadResponse for one that is not of `before`'s names."""
        try:
            made = self._read(RenewResponse.from_binary(body).issued)
        except ValueError as error:
            raise _unfit(error) from error
        if _names(made.credential.leaf) != _names(before.leaf):
            raise BadResponse("the server answered with a certificate of somebody else: it is not used", status=200)
        return made

    def enrolled(self, body: bytes) -> Renewed:
        """The credential in the answer to an Enroll call. Raises BadResponse."""
        try:
            return self._read(EnrollResponse.from_binary(body).issued)
        except ValueError as error:
            raise _unfit(error) from error

    def _read(self, issued: Issued | None) -> Renewed:
        """Raises BadResponse, ValueError."""
        if issued is None:
            raise ValueError("it is empty")
        try:
            chain = parse_certificates(issued.certificate_chain.encode())
            trust = TrustBundle.parse(issued.trust_bundle.encode())
            credential = Credential(self._key, chain)
            Identity.from_certificate(credential.leaf)
        except PKIError as error:
            raise _unfit(error) from error
        above = [*chain[1:], *trust]
        for certificate, issuers in zip(chain, (above[number:] for number in range(len(chain))), strict=True):
            if not any(was_issued_by(certificate, issuer) for issuer in issuers):
                raise ValueError("its chain does not lead to an authority that it names")
        if credential.leaf.not_valid_after_utc <= datetime.now(UTC):
            raise ValueError("its certificate has ended already: set the clock of this machine")
        return Renewed(credential, trust)


def _unfit(error: Exception) -> BadResponse:
    return BadResponse(f"the server answered with a certificate that cannot be used: {error}", status=200)


def _names(certificate: x509.Certificate) -> tuple[object, ...]:
    identity = Identity.from_certificate(certificate)
    return identity.name, identity.kind, identity.emails, identity.uris, identity.dns_names


def _lists(folder: Path) -> bytes | None:
    """The lists that are there: a server whose list vanishes would not take up the rest."""
    if not (folder / LISTS).exists():
        return None
    return locate(folder).lists.read_bytes()
