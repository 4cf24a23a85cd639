"""What Handclasp remembered of each name before it had an inventory: `DIR/issued/NAME.json`. Read, never written.

A record keeps every certificate of the name that had not ended when the latest was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pki.authority import lifetime_of
from pki.errors import CorruptState, UsageError
from pki.keys import KeyType
from pki.names import Names
from pki.profiles import LEAF_PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate, as far as finding and revoking it needs. Hexadecimal is lower-case, dates are in UTC."""

    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """A name's profile, names, key type and life in days, and where its credential is.

    `folder` is relative to the state folder, or absolute where `--out` chose it. `certificates` holds those that
    have not ended, the latest last.
    """

    profile: str
    names: Names
    key: KeyType
    days: int
    folder: str
    certificates: tuple[Issued, ...] = field(default=())

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """The record in a file's bytes; its names are checked as if they had been typed. Raises CorruptState."""
        try:
            fields: dict[str, Any] = json.loads(data)
            lifetime_of(fields["days"])
            return cls(
                profile=_known(fields["format"], fields["profile"]),
                names=Names.parse(
                    fields["name"],
                    emails=fields["emails"],
                    uris=fields["uris"],
                    dns_names=fields["dns_names"],
                    ip_addresses=fields["ip_addresses"],
                ),
                key=KeyType(fields["key"]),
                days=int(fields["days"]),
                folder=str(fields["folder"]),
                certificates=_at_least_one(
                    Issued(
                        serial=format(int(issued["serial"], 16), "x"),
                        sha256=bytes.fromhex(issued["sha256"]).hex(),
                        not_before=datetime.fromisoformat(issued["not_before"]).astimezone(UTC),
                        not_after=datetime.fromisoformat(issued["not_after"]).astimezone(UTC),
                    )
                    for issued in fields["certificates"]
                ),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, UsageError) as error:
            raise CorruptState(f"the record is damaged ({type(error).__name__}: {error})") from error


def _known(format_number: object, profile: str) -> str:
    if format_number != _FORMAT or profile not in LEAF_PROFILES:
        raise ValueError("a format or a profile that is not known here")
    return profile


def _at_least_one(certificates: Iterable[Issued]) -> tuple[Issued, ...]:
    first, *others = certificates
    return first, *others
