"""`people.csv`: who shall have a credential, a line each. Checked as a whole, before anybody gets one.

Header `name,email,uri,dns,ip,days` in any order, `name` and at least one of the others that are identities; several
values in a cell have a semicolon between them.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pki.authority import end_of, lifetime_of
from pki.bulk import Line
from pki.errors import NotFound, StateError, UsageError
from pki.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from pki.issuing import Request


IDENTITIES = {"email": "emails", "uri": "uris", "dns": "dns_names", "ip": "ip_addresses"}
_COLUMNS = ("name", *IDENTITIES, "days")
# As the commands have it: who connects is not named by an address, and what is connected to is a host.
_UNUSED = {"server": ("email", "uri"), "client": ("ip",)}
_BETWEEN = ";"
_DAYS = re.compile(r"[0-9]{1,9}")
_SHOWN = 5


def load_people(path: Path, like: Request, *, now: datetime) -> list[Line]:
    """The requests in a file: `like` this one, each with its own names, and its own days where it says some.

    Raises NotFound, StateError for a file that cannot be read, UsageError with all that is wrong in it.
    """
    try:
        # utf-8-sig: spreadsheets put a mark in front.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse_people(file, str(path), like, now=now)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", path=path) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not in UTF-8: save it as CSV in UTF-8") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", path=path) from error


def parse_people(text: Iterable[str], source: str, like: Request, *, now: datetime) -> list[Line]:
    """The requests in lines of CSV. Raises UsageError, which names `source` and the numbers of the lines."""
    reader = csv.reader(text, strict=True)
    lines: list[Line] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    try:
        columns = _header(next(reader, []), source)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                request = _request(columns, cells, like, now)
                _check_first(seen, request.names.name, reader.line_num)
                lines.append(Line(reader.line_num, request))
            except UsageError as error:
                faults.append(f"line {reader.line_num}: {error}")
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}")
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UsageError(f"{source}: {'; '.join(faults[:_SHOWN])}{more}")
    if not lines:
        raise UsageError(f"{source} names nobody: a header and a line each are expected")
    return lines


def _check_first(seen: dict[str, int], name: str, number: int) -> None:
    if seen.setdefault(name, number) != number:
        raise UsageError(f"{name} is in line {seen[name]} already")


def _header(cells: Sequence[str], source: str) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown:
        raise UsageError(f"{source}: line 1: the column {unknown[0]!a} is not known: use {','.join(_COLUMNS)}")
    if len(set(columns)) < len(columns):
        raise UsageError(f"{source}: line 1: a column is there twice")
    if "name" not in columns or not set(columns) & IDENTITIES.keys():
        wanted = ", ".join(IDENTITIES)
        raise UsageError(f"{source}: line 1: a header with `name` and at least one of {wanted} is expected")
    return columns


def _request(columns: Sequence[str], cells: Sequence[str], like: Request, now: datetime) -> Request:
    """The request of a line; its profile and key, and its days where the line says nothing, are `like` this one's."""
    profile, days = like.profile, like.days
    if len(cells) != len(columns):
        raise UsageError(f"{len(cells)} cells, and the header has {len(columns)}")
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    values = {
        kind: [value for part in row.get(column, "").split(_BETWEEN) if (value := part.strip())]
        for column, kind in IDENTITIES.items()
    }
    for column in _UNUSED.get(profile.label, ()):
        if values[IDENTITIES[column]]:
            raise UsageError(f"a {profile.label} has no {column}")
    if row.get("days"):
        if not _DAYS.fullmatch(row["days"]):
            raise UsageError(f"{row['days']!a} is no number of days")
        days = int(row["days"])
    if days is not None:
        end_of(now, lifetime_of(days))
    return replace(like, names=profile.completed(Names.parse(row["name"], **values)), days=days)
