"""The one-time tokens: from when one is made until it is used, or has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from pki.inventory.encoding import seconds, token_row, token_values
from pki.inventory.schema import tokens

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pki.inventory.rows import TokenRow


class Tokens:
    """The table of tokens, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, row: TokenRow) -> None:
        """One more. When the transaction is committed it may be handed out."""
        self._connection.execute(insert(tokens).values(**token_values(row)))

    def get(self, sha256: str) -> TokenRow | None:
        """The one with this hash, None where there is none."""
        row = self._connection.execute(select(tokens).where(tokens.c.sha256 == sha256)).first()
        return token_row(row) if row else None

    def use(self, sha256: str, now: datetime) -> bool:
        """Take it, for good; whether it was there to be taken: two who try at once get one yes."""
        free = (tokens.c.sha256 == sha256, tokens.c.used_at.is_(None), tokens.c.expires_at > seconds(now))
        return self._connection.execute(update(tokens).where(*free).values(used_at=seconds(now))).rowcount == 1

    def prune(self, before: datetime) -> None:
        """Forget those that expired before then, used or not."""
        self._connection.execute(delete(tokens).where(tokens.c.expires_at < seconds(before)))
