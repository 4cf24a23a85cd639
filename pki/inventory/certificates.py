"""The certificates: one row each, from before it leaves until it is pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, or_, select, text

from pki.errors import AlreadyExists, InventoryError
from pki.inventory.encoding import certificate_row, certificate_values, insert_new, moment, name_row, seconds
from pki.inventory.schema import authorities, certificates, names
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

    from pki.inventory.rows import CertificateRow, NameRow

_AT_ONCE = 500
_STREAMED = 2000


class Certificates:
    """The table of certificates, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, *rows: CertificateRow, same_key: bool = False) -> None:
        """All of them. When the transaction is committed they may leave.

        Raises AlreadyExists where a public key is in the inventory already, or twice among them, unless they keep it
        on purpose (`same_key`), and InventoryError for a serial number that is taken.
        """
        if not same_key:
            self._check_keys(rows)
        if insert_new(self._connection, certificates, [certificate_values(row) for row in rows]) < len(rows):
            raise InventoryError("a serial number is in the inventory already: try again")

    def get(self, serial: str) -> CertificateRow | None:
        """The one with this serial number (lower-case hexadecimal without padding), None where there is none."""
        return self._one(certificates.c.serial == serial)

    def some(self, serials: Sequence[str]) -> list[CertificateRow]:
        """Those of these serial numbers that are there, in no order."""
        found: list[CertificateRow] = []
        for start in range(0, len(serials), _AT_ONCE):
            found += self._rows(certificates.c.serial.in_(serials[start : start + _AT_ONCE]))
        return found

    def by_sha256(self, sha256: str) -> CertificateRow | None:
        """The one with this fingerprint, None where there is none."""
        return self._one(certificates.c.sha256 == sha256)

    def of_name(self, name: str, *, live_at: datetime | None = None) -> list[CertificateRow]:
        """Those of a name, newest first; with `live_at` only those that have not ended then and are not revoked."""
        where: list[ColumnElement[bool]] = [certificates.c.name == name]
        if live_at is not None:
            where.append(_live(live_at))
        latest = self._connection.execute(select(names.c.serial).where(names.c.name == name)).scalar()
        return sorted(self._rows(*where), key=lambda row: newest_first(row, latest))

    def newest(self, name: str) -> CertificateRow | None:
        """The one of a name that was issued last; of several in that second, one that is revoked or held."""
        columns = certificates.c
        order = (columns.issued_at.desc(), columns.not_before.desc(), columns.state == "issued", columns.serial)
        query = select(certificates).where(columns.name == name).order_by(*order).limit(1)
        row = self._connection.execute(query).first()
        return certificate_row(row) if row else None

    def stopped_since(self, name: str, since: datetime) -> bool:
        """Whether one of a name is on hold, or was revoked since then."""
        columns = certificates.c
        stopped = or_(columns.state == "held", columns.revoked_at >= seconds(since))
        return self._one(columns.name == name, stopped) is not None

    def of_issuer(self, issuer: str, *, live_at: datetime) -> Iterator[CertificateRow]:
        """Those of an authority that have not ended by then and are not revoked, in no order."""
        return self._rows(certificates.c.issuer == issuer, _live(live_at))

    def all(self) -> Iterator[CertificateRow]:
        """Every one, in no order."""
        return self._rows()

    def latest(self, *where: ColumnElement[bool]) -> Iterator[tuple[NameRow, CertificateRow]]:
        """Every name with its latest certificate, in no order; `where` narrows it."""
        columns = [column.label(f"name_{column.name}") for column in names.c]
        query = select(certificates, *columns).join(names, names.c.serial == certificates.c.serial).where(*where)
        for row in self._stream(query):
            yield name_row(_Prefixed(row)), certificate_row(row)  # type: ignore[arg-type]

    def latest_of(self, issuer: str) -> Iterator[tuple[NameRow, CertificateRow]]:
        """The names whose latest certificate this authority signed, each with it, in no order."""
        return self.latest(certificates.c.issuer == issuer)

    def old(self, now: datetime, *, tenths: int) -> Iterator[tuple[NameRow, CertificateRow]]:
        """The latest of each name that is neither revoked nor held nor over, and past so many tenths of its life."""
        moment, begin, end = seconds(now), certificates.c.not_before, certificates.c.not_after
        return self.latest(
            certificates.c.state == "issued", end >= moment, (moment - begin) * 10 >= (end - begin) * tenths
        )

    def found(self, words: str, *, limit: int) -> tuple[int, list[CertificateRow]]:
        """How many have these words in their name, their SANs or where their serial number begins; and the newest.

        No words: all of them.
        """
        where = []
        if words:
            columns = certificates.c
            where.append(
                or_(
                    columns.name.icontains(words, autoescape=True),
                    columns.sans.icontains(words, autoescape=True),
                    columns.serial.startswith(words.lower(), autoescape=True),
                )
            )
        count = self._connection.execute(select(func.count()).select_from(certificates).where(*where)).scalar_one()
        newest = select(certificates).where(*where).order_by(certificates.c.issued_at.desc(), certificates.c.serial)
        return count, [certificate_row(row) for row in self._connection.execute(newest.limit(limit))]

    def revoked(self, *, limit: int) -> list[CertificateRow]:
        """Those that are revoked or held, the latest first."""
        query = select(certificates).where(certificates.c.state != "issued")
        latest = query.order_by(certificates.c.revoked_at.desc(), certificates.c.serial).limit(limit)
        return [certificate_row(row) for row in self._connection.execute(latest)]

    def ends(self, now: datetime, *, bins: int) -> tuple[datetime, list[int]]:
        """Until when the living last, and how many of them end in each of so many equal parts of that time."""
        columns, begin = certificates.c, seconds(now)
        living = and_(columns.state == "issued", columns.not_after > begin)
        last = self._connection.execute(select(func.max(columns.not_after)).where(living)).scalar()
        counts = [0] * bins
        if last is None:
            return now, counts
        width = -(-(last - begin) // bins)
        part = (columns.not_after - 1 - begin) // width
        for number, count in self._connection.execute(select(part, func.count()).where(living).group_by(part)):
            counts[number] = count
        return moment(begin + width * bins), counts

    def key_holder(self, spki_sha256: str) -> CertificateRow | None:
        """A certificate of this public key; None where the key was never used."""
        return self._one(certificates.c.spki_sha256 == spki_sha256)

    def ended(self, before: datetime) -> Iterator[CertificateRow]:
        """Those that `prune` would take, in no order."""
        return self._rows(self._prunable(before))

    def prune(self, before: datetime, *, keep: Collection[str] = ()) -> int:
        """Forget those that ended before then, but not these serial numbers; how many they were.

        One that is revoked or held stays until a CRL from behind its end has shown it (RFC 5280 3.3), or its
        authority is retired, which publishes no more CRLs.
        """
        serials = [row for row in self._serials(self._prunable(before)) if row not in keep]
        for start in range(0, len(serials), _AT_ONCE):
            some = serials[start : start + _AT_ONCE]
            self._connection.execute(delete(certificates).where(certificates.c.serial.in_(some)))
        return len(serials)

    def _prunable(self, before: datetime) -> ColumnElement[bool]:
        retired = select(authorities.c.sha256).where(authorities.c.state == AuthorityState.RETIRED)
        done = or_(certificates.c.state == "issued", certificates.c.shown_expired, certificates.c.issuer.in_(retired))
        return and_(certificates.c.not_after < seconds(before), done)

    def _serials(self, where: ColumnElement[bool]) -> Sequence[str]:
        return self._connection.execute(select(certificates.c.serial).where(where)).scalars().all()

    def _check_keys(self, rows: Sequence[CertificateRow]) -> None:
        keys = [row.spki_sha256 for row in rows]
        if len(keys) == 1 and self._connection.dialect.name == "postgresql":
            # Two hosts that are asked for the same key at once: the second one waits here, and then sees the first.
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
            self._connection.execute(lock, {"key": keys[0]})
        taken: CertificateRow | None = None
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            taken = taken or self._one(certificates.c.spki_sha256.in_(some))
        if taken is not None:
            raise AlreadyExists(
                f"the public key was used before, by {taken.names.name} (serial {taken.serial}): make a new key"
            )
        if len(set(keys)) < len(keys):
            raise AlreadyExists("two of these have the same public key: make a new key for each")

    def _one(self, *where: ColumnElement[bool]) -> CertificateRow | None:
        row = self._connection.execute(select(certificates).where(*where).limit(1)).first()
        return certificate_row(row) if row else None

    def _rows(self, *where: ColumnElement[bool]) -> Iterator[CertificateRow]:
        return map(certificate_row, self._stream(select(certificates).where(*where)))

    def _stream(self, query: Select[Any]) -> Iterator[Any]:
        with self._connection.execute(query.execution_options(yield_per=_STREAMED)) as rows:
            yield from rows


def newest_first(row: CertificateRow, latest: str | None) -> tuple[float, float, bool, str]:
    """The key that sorts certificates of a name; `latest` decides between those of one second."""
    return -row.issued_at.timestamp(), -row.not_before.timestamp(), row.serial != latest, row.serial


def _live(moment: datetime) -> ColumnElement[bool]:
    return and_(certificates.c.state != "revoked", certificates.c.not_after >= seconds(moment))


class _Prefixed:
    """The columns of a row that begin with `name_`, by their names without it."""

    def __init__(self, row: Any) -> None:
        self._row = row

    def __getattr__(self, column: str) -> Any:
        return getattr(self._row, f"name_{column}")
