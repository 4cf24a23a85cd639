"""What is known against a certificate: by the inventory, or by revocation lists. For `pki.verification`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pki.crl import RevocationList, is_signed_by
from pki.errors import TrustError
from pki.inventory.rows import fingerprint, serial_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from pki.open_state import OpenState
    from pki.verification import Objection


def by_inventory(here: OpenState, now: datetime) -> Objection:
    """Ask the inventory: by serial number, however many are revoked. A list that is published must be fresh, too."""
    published = here.state.lists() is not None
    with here.inventory.reading() as work:
        authorities = {row.sha256: row for row in work.authorities.all()}

    def objection(certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
        authority = authorities.get(fingerprint(issuer))
        if authority is None:
            return None
        with here.inventory.reading() as work:
            row = work.certificates.get(serial_of(certificate))
        if row is not None and row.sha256 == fingerprint(certificate) and row.state != "issued":
            when = f" on {row.revoked_at:%Y-%m-%d %H:%M:%S} UTC" if row.revoked_at else ""
            return f"it is {'on hold' if row.state == 'held' else 'revoked'} ({row.reason}){when}"
        if published and authority.crl_next_update is not None and now >= authority.crl_next_update:
            return _stale(authority.name, authority.crl_next_update)
        return None

    return objection


def by_lists(lists: Sequence[x509.CertificateRevocationList], now: datetime) -> Objection:
    """Ask these lists, each verified against the authority that signed it. Raises TrustError where one is unusable."""

    def objection(certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
        own = [found for found in lists if found.issuer == issuer.subject]
        signed = [RevocationList.of(found, issuer) for found in own if is_signed_by(found, issuer)]
        if own and not signed:
            raise TrustError(f"the revocation list of {own[0].issuer.rfc4514_string()} is not signed by its key")
        if any(certificate.serial_number in found for found in signed):
            return "it is revoked"
        ends = max((found.next_update for found in signed), default=None)
        return _stale(signed[0].issuer, ends) if ends is not None and now >= ends else None

    return objection


def _stale(name: str, end: datetime) -> str:
    return f"the revocation list of {name} is stale since {end:%Y-%m-%d %H:%M:%S} UTC: run `handclasp-pki crl`"
