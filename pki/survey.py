"""The inventory at a glance: what an administrator looks at. Bounded, however much there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.inventory.rows import TRUSTED
from pki.listing import standing_of

if TYPE_CHECKING:
    from datetime import datetime

    from pki.inventory.rows import AuthorityRow, CertificateRow, Counts
    from pki.listing import Standing
    from pki.open_state import OpenState

_BINS = 48


@dataclass(frozen=True, slots=True)
class Survey:
    """One moment of an inventory."""

    taken: datetime
    counts: Counts
    authorities: tuple[AuthorityRow, ...]
    """Those that are trusted; the others are history."""
    found: int
    """How many certificates the search has found; without words, all."""
    certificates: tuple[tuple[CertificateRow, Standing], ...]
    """The newest of them."""
    revoked: tuple[CertificateRow, ...]
    """The latest."""
    until: datetime
    """When the last of the living certificates ends."""
    ends: tuple[int, ...]
    """How many of them end in each of as many equal parts of the time from `taken` until then."""


def survey(here: OpenState, *, now: datetime, words: str = "", limit: int = 100) -> Survey:
    """Look at all of it, and at `limit` certificates and revocations, those with these words."""
    with here.inventory.reading() as work:
        authorities = work.authorities.all()
        found, certificates = work.certificates.found(words, limit=limit)
        revoked = work.certificates.revoked(limit=limit)
        until, ends = work.certificates.ends(now, bins=_BINS)
        counts = work.counts()
    trusted = {row.sha256 for row in authorities if row.state in TRUSTED}
    return Survey(
        taken=now,
        counts=counts,
        authorities=tuple(row for row in authorities if row.sha256 in trusted),
        found=found,
        certificates=tuple((row, standing_of(row, trusted, now)) for row in certificates),
        revoked=tuple(revoked),
        until=until,
        ends=tuple(ends),
    )
