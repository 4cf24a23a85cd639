"""What the certificate revocation lists beside a credential say of a caller: looked up, in a time that does not grow.

OpenSSL could check them during a handshake, and only then: a live connection is judged by the same rule, so it is here
once for both. A list that is there and stale lets nobody in (RFC 5280 section 6.3.3 leaves that to the relying party;
failing open is what makes revocation worthless).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pki.crl import RevocationList
    from services.peer import PathCertificate


class Objection(Enum):
    """Why a path is not accepted."""

    REVOKED = "its certificate is revoked"
    STALE = "the revocation list of its authority is stale: publish it again with 'handclasp-pki crl'"
    MISSING = "there is no revocation list of its authority, and one is required"


@dataclass(frozen=True, slots=True)
class Revocations:
    """The lists of a Snapshot, by the key of who signed them. Immutable."""

    lists: Mapping[bytes, RevocationList] = field(default_factory=lambda: MappingProxyType({}))
    required: bool = False
    """Whether the leaf's authority must have a list; those above it are asked where they have one."""

    @classmethod
    def of(cls, lists: Iterable[RevocationList], *, required: bool = False) -> Revocations:
        """These lists. Of one authority the newest counts."""
        found: dict[bytes, RevocationList] = {}
        for revocation_list in lists:
            known = found.get(revocation_list.signer)
            if known is None or known.number <= revocation_list.number:
                found[revocation_list.signer] = revocation_list
        return cls(MappingProxyType(found), required)

    def __bool__(self) -> bool:
        """Whether there is anything to ask."""
        return self.required or bool(self.lists)

    def objection(self, path: Sequence[PathCertificate], now: datetime) -> Objection | None:
        """Why this path is not accepted at `now`; None where nothing speaks against it."""
        for depth, certificate in enumerate(path):
            if certificate.issuer_key is None:
                break
            revocation_list = self.lists.get(certificate.issuer_key)
            if revocation_list is None:
                if self.required and depth == 0:
                    return Objection.MISSING
            elif certificate.serial in revocation_list:  # said once, it holds: also by a stale list
                return Objection.REVOKED
            elif now >= revocation_list.next_update:
                return Objection.STALE
        return None

    def stale_at(self, path: Sequence[PathCertificate]) -> datetime | None:
        """When the first list that speaks for this path becomes stale."""
        asked = (self.lists.get(certificate.issuer_key or b"") for certificate in path)
        return min((found.next_update for found in asked if found is not None), default=None)


NO_REVOCATIONS = Revocations()
"""No list, and none required."""
