"""A verified chain as `verdict` reads it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes

from pki.crl import key_id
from services.peer import PathCertificate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


def path_of(chain: Sequence[x509.Certificate]) -> tuple[PathCertificate, ...]:
    """The path, leaf first. Of the last one, the trust anchor, nobody here says who signed it."""
    return tuple(map(_step, chain, (*chain[1:], None)))


@lru_cache(maxsize=4096)
def _step(certificate: x509.Certificate, issuer: x509.Certificate | None) -> PathCertificate:
    """One step: a certificate, and who signed it. Read once: a client that comes again is the same."""
    return PathCertificate(
        sha256=certificate.fingerprint(hashes.SHA256()),
        serial=certificate.serial_number,
        not_after=certificate.not_valid_after_utc,
        issuer_key=None if issuer is None else key_id(issuer),
    )
