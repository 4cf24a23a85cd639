"""What is revoked, and what the next CRL of an authority says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import case, not_, select, update

from pki.errors import NotFound, UsageError
from pki.inventory.encoding import moment, seconds
from pki.inventory.rows import HOLD, REASONS, CRLTurn, RevokedRow
from pki.inventory.schema import authorities, certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

_STREAMED = 10_000


class Revocations:
    """Revoking, and the turns of CRLs, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set_revoked(self, serial: str, reason: str, at: datetime) -> bool:
        """Revoke for good, from "issued" or from "held"; False where it was revoked before, which then stands.

        Raises NotFound for an unknown serial number, UsageError for a reason that RFC 5280 does not have.
        """
        if reason not in REASONS or reason == HOLD:
            raise UsageError(f"{reason!a} is no reason to revoke for good: use one of {', '.join(REASONS)}")
        return self._set(serial, ("issued", "held"), {"state": "revoked", "reason": reason, "revoked_at": seconds(at)})

    def hold(self, serial: str, at: datetime) -> bool:
        """Revoke for now (certificateHold); False where it is held or revoked already. Raises NotFound."""
        return self._set(serial, ("issued",), {"state": "held", "reason": HOLD, "revoked_at": seconds(at)})

    def unhold(self, serial: str) -> bool:
        """End a hold; False where there is none: what is revoked for good stays so. Raises NotFound."""
        back = {"state": "issued", "reason": None, "revoked_at": None, "shown_expired": False}
        return self._set(serial, ("held",), back)

    def next_crl(self, issuer: str, *, now: datetime, period: timedelta) -> CRLTurn:
        """The number and dates of the next CRL of this authority, strictly above all that were given before.

        Until the transaction ends, others that ask wait. Take the turn first and read the `entries` then, in the same
        transaction: a higher number never says less. Raises NotFound.
        """
        mine = authorities.c.sha256 == issuer
        last = authorities.c.crl_this_update
        begin = case((last >= seconds(now), last + 1), else_=seconds(now))
        length = max(1, int(period / timedelta(seconds=1)))
        changed = self._connection.execute(
            update(authorities)
            .where(mine)
            .values(crl_number=authorities.c.crl_number + 1, crl_this_update=begin, crl_next_update=begin + length)
        )
        if not changed.rowcount:
            raise NotFound(f"no authority in the inventory has the SHA-256 {issuer}")
        number, this_update, next_update = self._connection.execute(
            select(authorities.c.crl_number, authorities.c.crl_this_update, authorities.c.crl_next_update).where(mine)
        ).one()
        return CRLTurn(number, moment(this_update), moment(next_update))

    def entries(self, issuer: str) -> Iterator[RevokedRow]:
        """What the CRL of this authority has to list, held ones as certificateHold, in no order.

        Those that have ended are among them until `set_shown` says that a CRL from behind their end has listed them.
        """
        query = select(certificates.c.serial, certificates.c.revoked_at, certificates.c.reason).where(
            certificates.c.issuer == issuer, certificates.c.state != "issued", not_(certificates.c.shown_expired)
        )
        with self._connection.execute(query.execution_options(yield_per=_STREAMED)) as rows:
            for serial, revoked_at, reason in rows:
                yield RevokedRow(serial, revoked_at, reason)

    def set_shown(self, issuer: str, this_update: datetime) -> int:
        """Say that the CRL of this date is published: what ended before may leave the next; how many they are."""
        return self._connection.execute(
            update(certificates)
            .where(
                certificates.c.issuer == issuer,
                certificates.c.state != "issued",
                not_(certificates.c.shown_expired),
                certificates.c.not_after < seconds(this_update),
            )
            .values(shown_expired=True)
        ).rowcount

    def _set(self, serial: str, before: tuple[str, ...], values: Mapping[str, object]) -> bool:
        mine: ColumnElement[bool] = certificates.c.serial == serial
        changed = self._connection.execute(
            update(certificates).where(mine, certificates.c.state.in_(before)).values(**values)
        ).rowcount
        if not changed and self._connection.execute(select(certificates.c.serial).where(mine)).scalar() is None:
            raise NotFound(f"no certificate in the inventory has the serial number {serial!a}")
        return bool(changed)
