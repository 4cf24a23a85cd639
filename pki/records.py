"""What is remembered of each name, so that it can be made again: `DIR/issued/NAME.json`.

A record is written before its certificate leaves, and keeps every certificate of the name that has not ended: the
serial number of a key that was rotated away is needed on the day when that key turns up elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes

from pki.authority import lifetime_of
from pki.errors import CorruptState, UsageError
from pki.keys import KeyType
from pki.names import Names
from pki.profiles import LEAF_PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate, as far as finding and revoking it needs. Hexadecimal is lower-case, dates are in UTC."""

    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Issued:
        """The facts of a certificate."""
        return cls(
            serial=format(certificate.serial_number, "x"),
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


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

    def adding(self, certificate: x509.Certificate, *, now: datetime) -> Record:
        """The record once this certificate is issued; those that have ended by now are dropped."""
        kept = tuple(issued for issued in self.certificates if issued.not_after >= now)
        return replace(self, certificates=(*kept, Issued.of(certificate)))

    def to_json(self) -> bytes:
        """The record as a file's bytes; `parse` reads it back equal."""
        fields = {
            "format": _FORMAT,
            "name": self.names.name,
            "profile": self.profile,
            "emails": self.names.emails,
            "uris": self.names.uris,
            "dns_names": self.names.dns_names,
            "ip_addresses": self.names.ip_addresses,
            "key": self.key,
            "days": self.days,
            "folder": self.folder,
            "certificates": [
                {
                    "serial": issued.serial,
                    "sha256": issued.sha256,
                    "not_before": timestamp(issued.not_before),
                    "not_after": timestamp(issued.not_after),
                }
                for issued in self.certificates
            ],
        }
        return json.dumps(fields, indent=2).encode() + b"\n"

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


def timestamp(moment: datetime) -> str:
    """A moment in UTC as ISO 8601 with a Z, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
