"""The inventory on SQLite and on PostgreSQL: the same promises on both."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pki.authority import CertificateAuthority
from pki.errors import AlreadyExists, InventoryError, NotFound, UsageError
from pki.inventory.database import Database
from pki.inventory.rows import HOLD, REASONS, AuthorityRow, CertificateRow, NameRow
from pki.inventory.store import Inventory
from pki.keys import KeyType
from pki.names import Names
from pki.profiles import ClientProfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CA = CertificateAuthority.create("An authority", KeyType.P256.generate(), now=NOW)
OTHER = CertificateAuthority.create("Another", KeyType.P256.generate(), now=NOW)
ACTIVE = AuthorityRow.of(CA.certificate, folder="authority", state="active", activated_at=NOW)


@pytest.fixture
def inventory(inventory_url: str) -> Iterator[Inventory]:
    """An inventory that knows one authority."""
    with Inventory.create(Database.parse(inventory_url)) as made:
        with made.transaction() as work:
            work.authorities.add(ACTIVE)
        yield made


def certificate(name: str = "alice", *, days: int = 7, issued_at: datetime = NOW) -> CertificateRow:
    """The row of a new certificate."""
    names = Names.parse(name, emails=[f"{name}@example.com"], uris=["https://example.com/a"], dns_names=["a.example"])
    public_key = KeyType.P256.generate().public_key()
    signed = CA.issue(ClientProfile(), names, public_key, now=NOW, lifetime=days * DAY)
    return CertificateRow.of(
        signed, names, "client", issuer=ACTIVE.sha256, issued_at=issued_at, requested_by="root@host"
    )


def name_of(row: CertificateRow) -> NameRow:
    return NameRow(row.profile, row.names, KeyType.P256, 7, f"credentials/{row.names.name}", row.serial)


def recorded(inventory: Inventory, *rows: CertificateRow) -> None:
    with inventory.transaction() as work:
        work.certificates.add(*rows)


def test_what_is_written_is_read(inventory: Inventory) -> None:
    """Authorities, names and certificates come back equal, from a second opening too."""
    row = certificate()
    with inventory.transaction() as work:
        work.certificates.add(row)
        work.names.add(name_of(row))
    with Inventory.open(inventory.database) as again, again.reading() as work:
        assert work.authorities.all() == [ACTIVE] == work.authorities.all("active", "staged")
        assert work.authorities.get(ACTIVE.sha256) == work.authorities.signer() == ACTIVE
        assert work.names.get("alice") == name_of(row)
        assert work.names.known() == ["alice"]
        assert list(work.certificates.all()) == [row]
        assert work.certificates.get(row.serial) == work.certificates.by_sha256(row.sha256) == row
        assert work.certificates.key_holder(row.spki_sha256) == row
        assert list(work.certificates.latest()) == [(name_of(row), row)]
        assert work.counts() == (1, 1, 1, 0, 0)
        assert work.certificates.get("0") is work.certificates.by_sha256("0") is work.names.get("bob") is None
        assert work.authorities.get("0") is work.certificates.key_holder("0") is None


def test_a_transaction_is_all_or_nothing(inventory: Inventory) -> None:
    """What fails in the middle has changed nothing."""
    with pytest.raises(ZeroDivisionError), inventory.transaction() as work:
        work.certificates.add(certificate())
        _ = 1 / 0
    with inventory.reading() as work:
        assert work.counts().certificates == 0


def test_a_key_is_used_once(inventory: Inventory) -> None:
    """A public key that is known is refused by the name that has it, unless it is kept on purpose."""
    first = certificate()
    recorded(inventory, first)
    again = replace(certificate("bob"), spki_sha256=first.spki_sha256)
    with pytest.raises(AlreadyExists, match=f"used before, by alice .serial {first.serial}"):
        recorded(inventory, certificate("carol"), again)
    with pytest.raises(AlreadyExists, match="the same public key"):
        recorded(inventory, *(replace(certificate(name), spki_sha256="ab") for name in ("bob", "carol")))
    with inventory.transaction() as work:
        work.certificates.add(again, same_key=True)
        assert work.counts().certificates == 2


def test_serials_and_names_are_unique(inventory: Inventory) -> None:
    """A second row of a serial number, an authority or a name is refused, and the first one stands."""
    row = certificate()
    with inventory.transaction() as work:
        work.certificates.add(row)
        work.names.add(name_of(row))
    with pytest.raises(InventoryError, match="serial number"):
        recorded(inventory, replace(certificate("bob"), serial=row.serial))
    with pytest.raises(AlreadyExists, match="alice has been issued already"), inventory.transaction() as work:
        work.names.add(name_of(certificate("bob")), name_of(certificate("alice")))
    with pytest.raises(AlreadyExists, match="An authority"), inventory.transaction() as work:
        work.authorities.add(ACTIVE)
    with inventory.transaction() as work:
        assert work.names.known() == ["alice"]
        work.names.replace(replace(name_of(row), days=3))
        assert work.names.get("alice") == replace(name_of(row), days=3)
        with pytest.raises(NotFound):
            work.names.replace(name_of(certificate("bob")))
        work.names.remove(["alice", "bob"])
        assert work.names.all() == []


def test_the_certificates_of_a_name(inventory: Inventory) -> None:
    """Newest first, the latest one before others of the same second; live ones have not ended and are not revoked."""
    old, ended, revoked = certificate(issued_at=NOW - DAY), certificate(days=1), certificate()
    latest = certificate()
    recorded(inventory, old, ended, revoked, latest, certificate("bob"))
    with inventory.transaction() as work:
        work.names.add(name_of(latest))
        work.revocations.set_revoked(revoked.serial, "superseded", NOW)
        serials = [row.serial for row in work.certificates.of_name("alice")]
        assert (serials[0], serials[-1], len(serials)) == (latest.serial, old.serial, 4)
        live = work.certificates.of_name("alice", live_at=NOW + 2 * DAY)
        assert [row.serial for row in live] == [latest.serial, old.serial]
        left = {row.serial for row in work.certificates.of_issuer(ACTIVE.sha256, live_at=NOW + 2 * DAY)}
        assert left > {latest.serial, old.serial}
        assert not left & {ended.serial, revoked.serial}


def test_who_is_past_a_part_of_life(inventory: Inventory) -> None:
    """Only the latest of a name, in tenths of its life; not the revoked, the held and the ended."""
    rows = {name: certificate(name, days=10) for name in ("alice", "revoked", "held")}
    rows["ended"] = certificate("ended", days=6)
    with inventory.transaction() as work:
        work.certificates.add(certificate("alice", days=9), *rows.values())
        work.names.add(*map(name_of, rows.values()))
        work.revocations.set_revoked(rows["revoked"].serial, "superseded", NOW)
        work.revocations.hold(rows["held"].serial, NOW)
        later = NOW + 6.5 * DAY
        assert list(work.certificates.old(later, tenths=6)) == [(name_of(rows["alice"]), rows["alice"])]
        assert list(work.certificates.old(later, tenths=7)) == []


def test_revoking(inventory: Inventory) -> None:
    """For good or for now; a second time changes nothing; what is unknown is NotFound."""
    row = certificate()
    recorded(inventory, row)
    with inventory.transaction() as work:
        assert work.revocations.hold(row.serial, NOW)
        assert not work.revocations.hold(row.serial, NOW + DAY)
        held = work.certificates.get(row.serial)
        assert held == replace(row, state="held", reason=HOLD, revoked_at=NOW)
        assert work.revocations.unhold(row.serial)
        assert work.certificates.get(row.serial) == row
        assert not work.revocations.unhold(row.serial)
        assert work.revocations.hold(row.serial, NOW)
        assert work.revocations.set_revoked(row.serial, "keyCompromise", NOW + DAY)
        assert not work.revocations.set_revoked(row.serial, "superseded", NOW)
        assert not work.revocations.unhold(row.serial)
        assert not work.revocations.hold(row.serial, NOW)
        revoked = work.certificates.get(row.serial)
        assert revoked == replace(row, state="revoked", reason="keyCompromise", revoked_at=NOW + DAY)
        for call in (
            lambda: work.revocations.set_revoked("0", "superseded", NOW),
            lambda: work.revocations.hold("0", NOW),
            lambda: work.revocations.unhold("0"),
        ):
            with pytest.raises(NotFound, match="'0'"):
                call()
        for reason in ("removeFromCRL", "boredom", HOLD):
            with pytest.raises(UsageError):
                work.revocations.set_revoked(row.serial, reason, NOW)
    assert set(REASONS) > {"unspecified", "keyCompromise", "cessationOfOperation"}


def test_what_a_crl_lists(inventory: Inventory) -> None:
    """Of its own authority, held ones too, and an ended one once more: until a CRL from behind its end showed it."""
    short, long, held, other = certificate(days=1), certificate(days=9), certificate(days=1), certificate()
    foreign = AuthorityRow.of(OTHER.certificate, folder="authority-2", state="staged")
    with inventory.transaction() as work:
        work.authorities.add(foreign)
        work.certificates.add(short, long, held, certificate(), replace(other, issuer=foreign.sha256))
        for row in (short, long, other):
            work.revocations.set_revoked(row.serial, "superseded", NOW)
        work.revocations.hold(held.serial, NOW)

    def listed() -> dict[str, str]:
        with inventory.reading() as work:
            return {entry.serial: entry.reason for entry in work.revocations.entries(ACTIVE.sha256)}

    everything = {short.serial: "superseded", long.serial: "superseded", held.serial: HOLD}
    assert listed() == everything
    with inventory.transaction() as work:
        assert work.revocations.set_shown(ACTIVE.sha256, NOW) == 0
    assert listed() == everything
    with inventory.transaction() as work:
        assert work.revocations.set_shown(ACTIVE.sha256, NOW + 2 * DAY) == 2
        assert work.revocations.set_shown(ACTIVE.sha256, NOW + 2 * DAY) == 0
    assert listed() == {long.serial: "superseded"}
    with inventory.reading() as work:
        (entry,) = work.revocations.entries(ACTIVE.sha256)
    assert entry.revoked_at == NOW.timestamp()


def test_the_turns_of_crls_strictly_increase(inventory: Inventory) -> None:
    """Numbers and dates, within one second and when the clock has gone back."""
    with inventory.transaction() as work:
        turns = [
            work.revocations.next_crl(ACTIVE.sha256, now=now, period=DAY) for now in (NOW, NOW, NOW - DAY, NOW + DAY)
        ]
        with pytest.raises(NotFound):
            work.revocations.next_crl("0", now=NOW, period=DAY)
    assert [turn.number for turn in turns] == [1, 2, 3, 4]
    second = timedelta(seconds=1)
    assert [turn.this_update for turn in turns] == [NOW, NOW + second, NOW + 2 * second, NOW + DAY]
    assert all(turn.next_update == turn.this_update + DAY for turn in turns)
    with inventory.reading() as work:
        row = work.authorities.get(ACTIVE.sha256)
    assert row is not None
    assert (row.crl_number, row.crl_this_update, row.crl_next_update) == (4, NOW + DAY, NOW + 2 * DAY)


def test_turns_taken_at_once(inventory: Inventory) -> None:
    """Eight writers, each with a connection of its own: every number once, every date once."""
    turns = []

    def take() -> None:
        with Inventory.open(inventory.database) as mine:
            for _ in range(10):
                with mine.transaction() as work:
                    turns.append(work.revocations.next_crl(ACTIVE.sha256, now=NOW, period=DAY))

    writers = [threading.Thread(target=take) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(turn.number for turn in turns) == list(range(1, 81))
    assert len({turn.this_update for turn in turns}) == 80


def test_prune_forgets_what_nobody_asks_for(inventory: Inventory) -> None:
    """Ended ones, but those that are kept; a revoked one only when a CRL has shown it or its authority is retired."""
    ended, kept, live = certificate(days=1), certificate(days=1), certificate(days=9)
    revoked, held, shown = (certificate(days=1) for _ in range(3))
    with inventory.transaction() as work:
        work.certificates.add(ended, kept, live, revoked, held, shown)
        work.revocations.set_revoked(shown.serial, "superseded", NOW)
        work.revocations.set_shown(ACTIVE.sha256, NOW + 2 * DAY)
        work.revocations.set_revoked(revoked.serial, "superseded", NOW)
        work.revocations.hold(held.serial, NOW)
        later = NOW + 2 * DAY
        assert {row.serial for row in work.certificates.ended(later)} == {ended.serial, kept.serial, shown.serial}
        assert work.certificates.prune(later, keep=[kept.serial]) == 2
        left = {row.serial for row in work.certificates.all()}
        assert left == {kept.serial, live.serial, revoked.serial, held.serial}
        work.authorities.set_state(ACTIVE.sha256, "retired")
        assert work.certificates.prune(later, keep=[kept.serial]) == 2
        assert {row.serial for row in work.certificates.all()} == {kept.serial, live.serial}


def test_who_signs(inventory: Inventory) -> None:
    """Of the active ones the one that was activated last; a staged one does not; with none active nobody does."""
    other = AuthorityRow.of(OTHER.certificate, folder="authority-2", state="staged", anchor=CA.certificate)
    with inventory.transaction() as work:
        work.authorities.add(other)
        assert work.authorities.signer() == ACTIVE
        work.authorities.set_state(other.sha256, "active", activated_at=NOW + DAY)
        signer = work.authorities.signer()
        assert signer == replace(other, state="active", activated_at=NOW + DAY)
        assert signer.anchor == CA.certificate
        assert [row.sha256 for row in work.authorities.all()] == [other.sha256, ACTIVE.sha256]
        for sha256 in (ACTIVE.sha256, other.sha256):
            work.authorities.set_state(sha256, "retiring")
        assert work.authorities.signer() is None
        with pytest.raises(NotFound):
            work.authorities.set_state("0", "active")


def test_many_names(inventory: Inventory) -> None:
    """More than a statement takes parameters."""
    rows = [replace(certificate(), serial=f"{number:x}", spki_sha256=f"{number}") for number in range(1200)]
    names = [replace(name_of(row), names=Names(f"n{number}"), days=1) for number, row in enumerate(rows)]
    with inventory.transaction() as work:
        work.certificates.add(*rows)
        work.names.add(*names)
        assert len(work.names.some([f"n{number}" for number in range(2000)])) == 1200
        work.names.remove(work.names.known()[:700])
        assert work.counts()[:3] == (1, 500, 1200)
        assert work.certificates.prune(NOW + 30 * DAY) == 1200


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    """0600, and so are SQLite's files beside it; WAL, and on the disk at each commit."""
    path = tmp_path / "inventory.db"
    with Inventory.create(Database.in_folder(tmp_path)) as inventory:
        with inventory.reading():
            files = sorted(tmp_path.iterdir())
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert path in files
            assert path.with_name("inventory.db-wal") in files
        with inventory._engine.connect() as connection:
            settings = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout")
            ]
    assert settings == ["wal", 2, 10000]
