"""What is wrong with a state folder, or soon will be: the findings of `handclasp-pki doctor`. Changes nothing."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pki.authority_files import KEY as AUTHORITY_KEY
from pki.authority_files import ROOT_KEY
from pki.credential import KEY, is_occupied, load_folder, locate
from pki.errors import PKIError
from pki.facts import read_certificates
from pki.inventory.rows import fingerprint
from pki.listing import entries_of
from pki.open_state import is_own
from pki.renewal import due_at
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from pki.inventory.rows import AuthorityRow
    from pki.listing import Entry
    from pki.open_state import OpenState

_AUTHORITY_SOON = timedelta(days=90)
_CLOCKS_DIFFER = timedelta(minutes=5)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class Finding(NamedTuple):
    """Something that is not as it should be, where, and how to mend it."""

    subject: str
    message: str
    cure: str


def examine(here: OpenState, now: datetime) -> list[Finding]:
    """Everything that is found; nothing where all is well."""
    entries = list(entries_of(here, now=now))
    with here.inventory.reading() as work:
        authorities = work.authorities.all()
    found: list[Finding] = []
    for part in (
        _of_clock(authorities, entries, now),
        _of_state(here),
        _of_authorities(here, authorities, now),
        _of_certificates(entries, now),
        _of_folders(here, entries),
        _of_lists(here, authorities, now),
    ):
        found += part
    return found


def _of_clock(authorities: list[AuthorityRow], entries: list[Entry], now: datetime) -> Iterator[Finding]:
    latest = max((entry.certificate.issued_at for entry in entries), default=now)
    begun = max((row.not_before for row in authorities), default=now)
    ahead = max(latest, begun)
    if ahead > now + _CLOCKS_DIFFER:
        yield Finding(
            "clock",
            f"it says {now:%Y-%m-%d %H:%M} UTC, and something was issued at {ahead:%Y-%m-%d %H:%M} UTC",
            "set the clock of this machine",
        )


def _of_state(here: OpenState) -> Iterator[Finding]:
    mode = stat.S_IMODE(here.state.folder.stat().st_mode)
    if mode & _WRITABLE:
        yield Finding(
            str(here.state.folder), f"others can write to it (mode {mode:04o})", f"chmod 700 {here.state.folder}"
        )
    database = here.inventory.database.path
    if database is not None and stat.S_IMODE(database.stat().st_mode) & _OTHERS:
        yield Finding(str(database), "others can read or write the inventory", f"chmod 600 {database}")


def _of_authorities(here: OpenState, authorities: list[AuthorityRow], now: datetime) -> Iterator[Finding]:
    for row in authorities:
        if not row.state.trusted:
            continue
        if not here.is_here(row):
            if is_own(here.state, here.inventory.database):
                where = here.state.path(row.folder)
                yield Finding(row.name, f"the authority's folder {where} is missing", "put it back from a copy")
            continue
        folder = here.state.path(row.folder)
        left = row.not_after - now
        if left < _AUTHORITY_SOON:
            said = f"has ended on {row.not_after:%Y-%m-%d}" if left < timedelta() else f"ends in {left.days} days"
            yield Finding(row.name, f"the authority {said}", "replace it with `handclasp-pki rotate-ca`")
        for name in (AUTHORITY_KEY, ROOT_KEY):
            yield from _of_key(folder / name)
        if (folder / ROOT_KEY).exists():
            yield Finding(
                str(folder / ROOT_KEY), "the root's key is on this machine", "move it to a medium that goes offline"
            )
    if not any(row.state is AuthorityState.ACTIVE and here.is_here(row) for row in authorities):
        yield Finding(str(here.state.folder), "no authority may sign", "see `handclasp-pki rotate-ca status`")


def _of_certificates(entries: list[Entry], now: datetime) -> Iterator[Finding]:
    for entry in entries:
        row, name = entry.certificate, entry.certificate.names.name
        if not entry.current:
            continue
        if entry.standing == "expired":
            yield Finding(
                name,
                f"its certificate has expired on {row.not_after:%Y-%m-%d}",
                f"`handclasp-pki rotate {name}`, or remove its folder and `handclasp-pki prune`",
            )
        elif entry.standing in ("missing", "damaged", "orphaned", "future"):
            yield Finding(name, f"its certificate is {entry.standing}", f"handclasp-pki rotate {name}")
        elif entry.standing == "valid" and entry.folder is not None and due_at(row) <= now:
            yield Finding(name, f"it is due, and ends on {row.not_after:%Y-%m-%d}", "handclasp-pki renew --due")


def _of_folders(here: OpenState, entries: list[Entry]) -> Iterator[Finding]:
    bundle, lists = here.trust(), here.state.lists()
    folders = {entry.folder for entry in entries if entry.folder is not None}
    for folder in sorted(folders):
        if not is_occupied(folder):
            continue
        try:
            paths = locate(folder)
            _, trust = load_folder(folder)
            there = paths.lists.read_bytes() if paths.lists.exists() else None
        except (PKIError, OSError) as error:
            yield Finding(str(folder), str(error), "handclasp-pki rotate")
            continue
        if set(trust) != set(bundle) or there != lists:
            yield Finding(str(folder), "its trust is not the present one", "handclasp-pki rotate-ca publish")
    known = {entry.certificate.sha256 for entry in entries}
    for folder in _credential_folders(here):
        try:
            leaf = read_certificates(folder)[0]
        except PKIError:
            continue
        yield from _of_key(folder / KEY) if folder not in folders else ()
        if fingerprint(leaf) not in known:
            yield Finding(
                str(folder), "the inventory does not know its certificate", "find out who put it there, then remove it"
            )


def _of_lists(here: OpenState, authorities: list[AuthorityRow], now: datetime) -> Iterator[Finding]:
    if here.state.lists() is None:
        if any(row.crl_number for row in authorities if here.is_here(row)):
            yield Finding(str(here.state.lists_file), "the revocation lists are gone", "handclasp-pki crl")
        return
    for row in authorities:
        if not row.state.trusted or not here.is_here(row):
            continue
        if row.crl_this_update is None or row.crl_next_update is None:
            yield Finding(row.name, "the authority has no revocation list, and others have", "handclasp-pki crl")
            continue
        left = row.crl_next_update - now
        if left <= timedelta():
            yield Finding(row.name, "its revocation list is stale: servers let nobody in", "handclasp-pki crl")
        elif left < (row.crl_next_update - row.crl_this_update) / 4:
            yield Finding(
                row.name,
                f"its revocation list becomes stale at {row.crl_next_update:%Y-%m-%d %H:%M} UTC",
                "handclasp-pki crl, or have `handclasp-pki crl --daemon` do so",
            )


def _of_key(path: Path) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & _OTHERS:
        yield Finding(str(path), f"others can read this private key (mode {mode:04o})", f"chmod 600 {path}")


def _credential_folders(here: OpenState) -> list[Path]:
    try:
        return sorted(path for path in (here.state.folder / "credentials").iterdir() if not path.name.startswith("."))
    except OSError:
        return []
