"""Answers, notes and errors as people read them, and as JSON. rich is imported only where a table is drawn."""

from __future__ import annotations

import json
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

import typer

from pki.shell import complain, console, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console

    from pki.facts import Facts
    from pki.inventory.rows import CertificateRow
    from pki.issuing import Outcome
    from pki.listing import Entry

PROGRAM = "handclasp-pki"
_STYLES = {"valid": "green", "revoked": "red", "expired": "red", "damaged": "red", "missing": "red"}
Mark = Literal["+", "~", "-"]
_MARKS: dict[Mark, str] = {"+": "green", "~": "yellow", "-": "red"}
# Into a file or a pipe, nothing is folded: a fingerprint has to be found by grep.
_PIPE_WIDTH = 4096


def say(text: str) -> None:
    """One line of the answer, on stdout."""
    typer.echo(visible(text))


def say_marked(mark: Mark, text: str) -> None:
    """One line of a plan, on stdout, in the colour of its mark."""
    from rich.text import Text

    _console().print(Text(f"  {mark} {visible(text)}", style=_MARKS[mark]), soft_wrap=True)


def say_note(text: str) -> None:
    """What happened beside what was asked for, on stderr."""
    complain(PROGRAM, "note", text)


def timestamp(moment: datetime) -> str:
    """A moment in UTC as ISO 8601 with a Z, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say_json(value: Any) -> None:
    """The answer as JSON, on stdout."""
    typer.echo(json.dumps(value, indent=2))


def say_outcome(outcome: Outcome) -> None:
    """What became of a name."""
    record, end = outcome.record, f"{outcome.certificate.not_valid_after_utc:%Y-%m-%d}"
    who = f"{record.profile} {record.names.name} ({record.names.described()})"
    say(f"{outcome.action} {who}, valid until {end}, in {outcome.folder}")
    if outcome.clamped:
        say_note(f"{record.names.name} ends on {end} with its authority, not after {record.days} days")


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """What became of a name, for `--json`."""
    record = outcome.record
    return {
        "action": outcome.action,
        "name": record.names.name,
        "profile": record.profile,
        "serial": record.serial,
        "not_after": timestamp(outcome.certificate.not_valid_after_utc),
        "folder": str(outcome.folder),
        "clamped": outcome.clamped,
    }


def row_json(row: CertificateRow) -> dict[str, Any]:
    """A certificate that something was decided of, for `--json`."""
    return {
        "name": row.names.name,
        "profile": row.profile,
        "serial": row.serial,
        "not_after": timestamp(row.not_after),
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """One element of `list --json`."""
    row = entry.certificate
    return {
        "name": row.names.name,
        "profile": row.profile,
        "serial": row.serial,
        "state": entry.standing,
        "current": entry.current,
        "not_before": timestamp(row.not_before),
        "not_after": timestamp(row.not_after),
        "emails": row.names.emails,
        "uris": row.names.uris,
        "dns_names": row.names.dns_names,
        "ip_addresses": row.names.ip_addresses,
        "key": row.key,
        "sha256": row.sha256,
        "issuer": row.issuer or None,
        "issued_at": timestamp(row.issued_at),
        "requested_by": row.requested_by or None,
        "reason": row.reason,
        "revoked_at": timestamp(row.revoked_at) if row.revoked_at else None,
        "folder": str(entry.folder) if entry.folder else None,
    }


def facts_json(facts: Facts, now: datetime) -> dict[str, Any]:
    """What `inspect --json` says of one certificate."""
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "identity": facts.identity,
        "refusal": facts.refusal,
        "emails": facts.emails,
        "uris": facts.uris,
        "dns_names": facts.dns_names,
        "ip_addresses": facts.ip_addresses,
        "purposes": facts.purposes,
        "authority": facts.authority,
        "key": facts.key,
        "signature": facts.signature,
        "not_before": timestamp(facts.not_before),
        "not_after": timestamp(facts.not_after),
        "days_left": days_left(facts.not_after, now),
        "serial": facts.serial,
        "sha256": facts.sha256,
    }


def days_left(end: datetime, now: datetime) -> int:
    """Whole days until the end; negative once it is past."""
    return (end - now).days


def show_entries(entries: Sequence[Entry], now: datetime) -> None:
    """A table of certificates on stdout; of those that are in no folder any more, the folder is left out."""
    columns = ("NAME", "PROFILE", "STATE", "EXPIRES", "DAYS LEFT", "KEY", "NAMES", "FOLDER")
    rows = [
        (
            entry.certificate.names.name,
            entry.certificate.profile,
            entry.standing,
            f"{entry.certificate.not_after:%Y-%m-%d}",
            str(days_left(entry.certificate.not_after, now)),
            entry.certificate.key,
            entry.certificate.names.described(),
            str(entry.folder) if entry.current else "",
        )
        for entry in entries
    ]
    _print_table(columns, rows, [_STYLES.get(entry.standing, "yellow") for entry in entries])


def show_facts(facts: Facts, now: datetime) -> None:
    """A table of one certificate on stdout, a line for each fact that there is."""
    left = days_left(facts.not_after, now)
    rows = [
        ("subject", facts.subject),
        ("issuer", facts.issuer),
        ("identity", facts.identity or f"none: {facts.refusal}"),
        ("emails", ", ".join(facts.emails)),
        ("URIs", ", ".join(facts.uris)),
        ("DNS names", ", ".join(facts.dns_names)),
        ("IP addresses", ", ".join(facts.ip_addresses)),
        ("purposes", ", ".join(facts.purposes) or "none stated"),
        ("authority", "yes" if facts.authority else "no"),
        ("key", facts.key),
        ("signature", facts.signature),
        ("valid from", f"{facts.not_before:%Y-%m-%d %H:%M:%S} UTC"),
        ("valid until", f"{facts.not_after:%Y-%m-%d %H:%M:%S} UTC ({left} days left)"),
        ("serial", facts.serial),
        ("SHA-256", facts.sha256),
    ]
    _print_table(None, [row for row in rows if row[1]], None)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout."""
    _print_table(columns, rows, None)


def _print_table(columns: Sequence[str] | None, rows: Sequence[Sequence[str]], styles: Sequence[str] | None) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=columns is not None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns or rows[0]):
        # On a narrow terminal the long ones fold, which are the last.
        table.add_column(column, overflow="fold", no_wrap=columns is not None and number < len(columns) - 2)
    for number, row in enumerate(rows):
        # Text, since markup in a certificate's names is no markup of ours.
        table.add_row(*(Text(visible(cell)) for cell in row), style=styles[number] if styles else None)
    _console().print(table)


def _console() -> Console:
    return console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
