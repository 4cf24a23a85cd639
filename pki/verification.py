"""Whether a server of ours would accept a certificate, or a client of ours a server's, and if not, every reason why.

The rules are those of the handshake (`services.transport.context`), read from the certificates themselves. Pure: the
time, the trust and what is known of revocation are passed in.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.errors import IdentityError
from pki.identity import Identity, Purpose, has_purpose
from pki.trust import is_authority, subject_of, was_issued_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pki.trust import TrustBundle

    Objection = Callable[[x509.Certificate, x509.Certificate], str | None]

# OpenSSL's security level 2: 112 bits.
_RSA_BITS, _CURVE_BITS = 2048, 224
_WEAK_HASHES = {"md5", "sha1"}
# Longer chains are nobody's here, and a cycle has no end.
_LONGEST = 8


def path_of(chain: Sequence[x509.Certificate], trust: TrustBundle) -> list[x509.Certificate] | None:
    """The way from the first certificate to a trust anchor, by the others; None where there is none."""
    path = [chain[0]]
    while path[-1] not in trust and len(path) < _LONGEST:
        above = next(
            (issuer for issuer in (*trust, *chain[1:]) if issuer not in path and was_issued_by(path[-1], issuer)), None
        )
        if above is None:
            return None
        path.append(above)
    return path if path[-1] in trust else None


def objections(
    chain: Sequence[x509.Certificate],
    trust: TrustBundle,
    purpose: Purpose,
    now: datetime,
    revoked: Objection = lambda _certificate, _issuer: None,
) -> list[str]:
    """Every reason not to accept the first certificate of a chain; none: it is accepted.

    `revoked` is asked for each certificate that an authority of the path signed, and says what it knows against it.
    """
    leaf = chain[0]
    found = _of_leaf(leaf, trust, purpose)
    path = path_of(chain, trust)
    if path is None:
        found.append(f"no authority of the bundle signed it: its issuer is {_issuer_of(leaf)}")
        path = [leaf]
    for depth, certificate in enumerate(path):
        found += _of_any(certificate, "it" if depth == 0 else f"its authority {subject_of(certificate)}", now)
        if depth:
            found += _of_authority(certificate, depth)
    for certificate, issuer in itertools.pairwise(path):
        if known := revoked(certificate, issuer):
            found.append(known)
    return found


def _of_leaf(leaf: x509.Certificate, trust: TrustBundle, purpose: Purpose) -> list[str]:
    found = []
    if is_authority(leaf) and leaf not in trust:
        found.append("it is an authority's certificate: those sign, they do not call or serve")
    if not has_purpose(leaf, purpose):
        name = "clientAuth" if purpose is Purpose.CLIENT else "serverAuth"
        found.append(f"{name} is not among its extended key usages")
    if purpose is Purpose.CLIENT:
        try:
            Identity.from_certificate(leaf)
        except IdentityError as error:
            found.append(str(error))
    return found


def _of_any(certificate: x509.Certificate, what: str, now: datetime) -> list[str]:
    found = []
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        found.append(f"{what} is not valid before {begin:%Y-%m-%d %H:%M:%S} UTC")
    if now > end:
        found.append(f"{what} has expired on {end:%Y-%m-%d %H:%M:%S} UTC")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        found.append(f"{what} has a weak key: RSA with {key.key_size} bits")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _CURVE_BITS:
        found.append(f"{what} has a weak key: {key.curve.name}")
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK_HASHES and certificate.issuer != certificate.subject:
        found.append(f"{what} is signed with {algorithm.name.upper()}")
    return found


def _of_authority(certificate: x509.Certificate, depth: int) -> list[str]:
    name = subject_of(certificate)
    if not is_authority(certificate):
        return [f"{name} signed it and is no authority"]
    found = []
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.path_length is not None and depth - 1 > constraints.path_length:
            found.append(f"{name} may not stand above so many authorities (pathlen {constraints.path_length})")
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            found.append(f"{name} may not sign certificates (keyCertSign is missing)")
    except x509.ExtensionNotFound:
        found.append(f"{name} does not say what its key is for (keyUsage is missing)")
    return found


def _issuer_of(certificate: x509.Certificate) -> str:
    try:
        return certificate.issuer.rfc4514_string()
    except ValueError:
        return "unreadable"
