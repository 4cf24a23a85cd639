"""TrustBundle: the authorities that we accept, and no others.

A bundle is never empty: an empty one is what makes programs fall back on the system's roots, which is how an
internal service comes to accept the whole web's certificates (Caddy CVE-2026-27586).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki.errors import TrustError
from pki.pem import parse_certificates, to_pem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["TrustBundle"]


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """One or more trust anchors, each of them a CA (RFC 5280 4.2.1.9), in order, without duplicates.

    Immutable: `adding` and `without` give new bundles. Every way to make one raises TrustError where it would
    be empty or hold a certificate that is no CA.
    """

    anchors: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        unique = tuple(dict.fromkeys(self.anchors))
        if not unique:
            raise TrustError("a trust bundle needs at least one authority")
        for anchor in unique:
            if not is_authority(anchor):
                raise TrustError(f"{subject_of(anchor)!r} is no authority (basicConstraints CA:TRUE)")
        object.__setattr__(self, "anchors", unique)

    @classmethod
    def parse(cls, pem: bytes) -> TrustBundle:
        """The bundle in a PEM file's bytes. Raises TrustError."""
        try:
            return cls(parse_certificates(pem))
        except ValueError as error:
            raise TrustError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> TrustBundle:
        """The bundle in a PEM file. Raises TrustError, its `path` set."""
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            message = f"the trust bundle {path} cannot be read: {error.strerror}"
            raise TrustError(message, path=path) from error
        except TrustError as error:
            raise TrustError(f"the trust bundle {path} cannot be used: {error}", path=path) from error

    def adding(self, certificate: x509.Certificate) -> TrustBundle:
        """The bundle with one more authority at its end; the same one where it is there already."""
        return TrustBundle((*self.anchors, certificate))

    def without(self, certificate: x509.Certificate) -> TrustBundle:
        """The bundle without this authority. Raises TrustError where it was the last one."""
        return TrustBundle(tuple(anchor for anchor in self.anchors if anchor != certificate))

    def to_pem(self) -> bytes:
        """The bundle as a PEM file's bytes; `parse` reads it back equal."""
        return to_pem(self.anchors)

    def vouches_for(self, chain: Sequence[x509.Certificate]) -> bool:
        """Whether a chain, leaf first, leads to one of these authorities by its signatures. Dates are not looked at."""
        current, left = chain[0], list(chain[1:])
        while current not in self.anchors and not any(was_issued_by(current, anchor) for anchor in self.anchors):
            above = next((other for other in left if is_authority(other) and was_issued_by(current, other)), None)
            if above is None:
                return False
            left.remove(above)
            current = above
        return True

    def __contains__(self, certificate: object) -> bool:
        return certificate in self.anchors

    def __len__(self) -> int:
        return len(self.anchors)

    def __iter__(self) -> Iterator[x509.Certificate]:
        return iter(self.anchors)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints are present, readable, and say CA:TRUE."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def was_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether this authority's key signed the certificate, and not that of another one of the same name."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def subject_of(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 text for a message, whatever is in it."""
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return "a certificate with an unreadable subject"
