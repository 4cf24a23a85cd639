"""The authorities: who signs, who is trusted, who was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from pki.errors import AlreadyExists, NotFound
from pki.inventory.encoding import authority_row, authority_values, insert_new, seconds
from pki.inventory.schema import authorities
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pki.inventory.rows import AuthorityRow


class Authorities:
    """The table of authorities, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, row: AuthorityRow) -> None:
        """Raises AlreadyExists where its certificate is there."""
        if not insert_new(self._connection, authorities, [authority_values(row)]):
            raise AlreadyExists(f"the authority {row.name} ({row.sha256}) is in the inventory already")

    def get(self, sha256: str) -> AuthorityRow | None:
        """The one with this certificate, None where there is none."""
        found = self._connection.execute(select(authorities).where(authorities.c.sha256 == sha256)).one_or_none()
        return authority_row(found) if found else None

    def all(self, *states: AuthorityState) -> list[AuthorityRow]:
        """Those in one of these states, or in any where none is said.

        The one that was activated last stands first, so the first "active" one signs; those that never were are
        behind, the youngest certificate first.
        """
        query = select(authorities)
        if states:
            query = query.where(authorities.c.state.in_(states))
        rows = [authority_row(row) for row in self._connection.execute(query)]
        return sorted(
            rows,
            key=lambda row: (seconds(row.activated_at) if row.activated_at else 0, row.not_before, row.sha256),
            reverse=True,
        )

    def signer(self) -> AuthorityRow | None:
        """The active one that was activated last; None where none is active."""
        return next(iter(self.all(AuthorityState.ACTIVE)), None)

    def set_state(self, sha256: str, state: AuthorityState, *, activated_at: datetime | None = None) -> None:
        """Its next state, and with `activated_at` when it began to sign. Which step is legal, others decide.

        Raises NotFound.
        """
        values: dict[str, object] = {"state": state}
        if activated_at is not None:
            values["activated_at"] = seconds(activated_at)
        changed = self._connection.execute(update(authorities).where(authorities.c.sha256 == sha256).values(**values))
        if not changed.rowcount:
            raise NotFound(f"no authority in the inventory has the SHA-256 {sha256}")
