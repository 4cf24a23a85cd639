"""Between rows of the database and values: times, names, certificates; and an insert that leaves what is there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography import x509

from pki.errors import CorruptState
from pki.inventory.rows import AuthorityRow, CertificateRow, NameRow, TokenRow
from pki.keys import KeyType
from pki.names import Names
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from sqlalchemy import Connection, Insert, Row, Table

_DAMAGED = "the inventory holds a damaged row"
_KINDS = ("emails", "uris", "dns_names", "ip_addresses")


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


def optional_seconds(moment: datetime | None) -> int | None:
    """The same of what may not have happened."""
    return None if moment is None else seconds(moment)


def moment(value: int) -> datetime:
    """The time of a column. Raises CorruptState."""
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise CorruptState(f"{_DAMAGED}: {value!a} is no time") from error


def optional_moment(value: int | None) -> datetime | None:
    """The same of a column that may be empty."""
    return None if value is None else moment(value)


@lru_cache(maxsize=2048)
def sans_text(names: Names) -> str:
    """The alternative names as a column holds them; a name and its certificate follow one another."""
    return json.dumps({kind: getattr(names, kind) for kind in _KINDS}, separators=(",", ":"))


def parse_names(name: str, sans: str) -> Names:
    """The names of a row, as they were checked when they were written. Raises CorruptState."""
    try:
        fields = json.loads(sans)
        return Names(name, *(tuple(map(str, fields[kind])) for kind in _KINDS))
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptState(f"{_DAMAGED}: the names of {name!a} cannot be read") from error


def authority_values(row: AuthorityRow) -> dict[str, Any]:
    """An authority as columns."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return {
        "sha256": row.sha256,
        "name": row.name,
        "state": row.state,
        "activated_at": optional_seconds(row.activated_at),
        "not_before": seconds(row.not_before),
        "not_after": seconds(row.not_after),
        "certificate": row.certificate.public_bytes(Encoding.PEM).decode(),
        "anchor": row.anchor.public_bytes(Encoding.PEM).decode(),
        "folder": row.folder,
        "crl_number": row.crl_number,
        "crl_this_update": optional_seconds(row.crl_this_update),
        "crl_next_update": optional_seconds(row.crl_next_update),
    }


def authority_row(row: Row[Any]) -> AuthorityRow:
    """An authority from columns. Raises CorruptState."""
    try:
        certificate, anchor = _certificate(row.certificate), _certificate(row.anchor)
    except (ValueError, x509.InvalidVersion) as error:
        raise CorruptState(f"{_DAMAGED}: the certificate of the authority {row.name!a} cannot be read") from error
    return AuthorityRow(
        sha256=row.sha256,
        name=row.name,
        state=AuthorityState(row.state),
        activated_at=optional_moment(row.activated_at),
        certificate=certificate,
        anchor=anchor,
        folder=row.folder,
        crl_number=row.crl_number,
        crl_this_update=optional_moment(row.crl_this_update),
        crl_next_update=optional_moment(row.crl_next_update),
    )


@lru_cache(maxsize=64)
def _certificate(pem: str) -> x509.Certificate:
    """The few authorities are read in each transaction that signs."""
    return x509.load_pem_x509_certificate(pem.encode())


def name_values(row: NameRow) -> dict[str, Any]:
    """A name as columns."""
    return {
        "name": row.names.name,
        "profile": row.profile,
        "sans": sans_text(row.names),
        "key": str(row.key),
        "days": row.days,
        "folder": row.folder,
        "serial": row.serial,
    }


def name_row(row: Row[Any]) -> NameRow:
    """A name from columns. Raises CorruptState."""
    try:
        key = KeyType(row.key)
    except ValueError as error:
        raise CorruptState(f"{_DAMAGED}: {row.name!a} has a key of the type {row.key!a}") from error
    return NameRow(row.profile, parse_names(row.name, row.sans), key, row.days, row.folder, row.serial)


def certificate_values(row: CertificateRow) -> dict[str, Any]:
    """A certificate as columns."""
    return {
        "serial": row.serial,
        "name": row.names.name,
        "profile": row.profile,
        "sans": sans_text(row.names),
        "key": row.key,
        "sha256": row.sha256,
        "spki_sha256": row.spki_sha256,
        "not_before": seconds(row.not_before),
        "not_after": seconds(row.not_after),
        "issuer": row.issuer,
        "issued_at": seconds(row.issued_at),
        "requested_by": row.requested_by,
        "state": row.state,
        "reason": row.reason,
        "revoked_at": optional_seconds(row.revoked_at),
        "shown_expired": row.shown_expired,
    }


def certificate_row(row: Row[Any]) -> CertificateRow:
    """A certificate from columns. Raises CorruptState."""
    return CertificateRow(
        serial=row.serial,
        names=parse_names(row.name, row.sans),
        profile=row.profile,
        key=row.key,
        sha256=row.sha256,
        spki_sha256=row.spki_sha256,
        not_before=moment(row.not_before),
        not_after=moment(row.not_after),
        issuer=row.issuer,
        issued_at=moment(row.issued_at),
        requested_by=row.requested_by,
        state=row.state,
        reason=row.reason,
        revoked_at=optional_moment(row.revoked_at),
        shown_expired=bool(row.shown_expired),
    )


def token_values(row: TokenRow) -> dict[str, Any]:
    """A token as columns."""
    return {
        "sha256": row.sha256,
        "name": row.names.name,
        "profile": row.profile,
        "sans": sans_text(row.names),
        "days": row.days,
        "issued_at": seconds(row.issued_at),
        "expires_at": seconds(row.expires_at),
        "used_at": optional_seconds(row.used_at),
        "requested_by": row.requested_by,
    }


def token_row(row: Row[Any]) -> TokenRow:
    """A token from columns. Raises CorruptState."""
    return TokenRow(
        sha256=row.sha256,
        names=parse_names(row.name, row.sans),
        profile=row.profile,
        days=row.days,
        issued_at=moment(row.issued_at),
        expires_at=moment(row.expires_at),
        used_at=optional_moment(row.used_at),
        requested_by=row.requested_by,
    )


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert those whose primary key is free; how many they were. Waits for others who insert the same."""
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        statement: Insert = insert_sqlite(table).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        statement = insert_postgresql(table).on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
