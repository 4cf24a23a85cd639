"""The verdict, as a table: what has changed since the handshake, and what becomes of the connection."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from pki.crl import RevocationList
from pki.serials import SerialSet
from services.peer import PathCertificate, Peer
from services.transport.revocations import Objection, Revocations
from services.transport.snapshot import Snapshot
from services.transport.verdict import Action, verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANCHOR, ISSUING, LEAF = b"anchor" * 5, b"issuing" * 4, b"leaf" * 8
ANCHOR_KEY, ISSUING_KEY = b"anchor's key", b"issuing key"


def step(sha256: bytes, serial: int, issuer_key: bytes | None, ends: timedelta = 24 * HOUR) -> PathCertificate:
    return PathCertificate(sha256, serial, NOW + ends, issuer_key)


PATH = (step(LEAF, 7, ANCHOR_KEY), step(ANCHOR, 1, None))
LONG_PATH = (step(LEAF, 7, ISSUING_KEY), step(ISSUING, 2, ANCHOR_KEY), step(ANCHOR, 1, None))


def peer(path: tuple[PathCertificate, ...] = PATH, **facts: Any) -> Peer:
    nobody: Any = None
    made = Peer(nobody, "CN=alice", (), "TLSv1.3", "", None, "h2", None, generation=1, since=NOW - HOUR, path=path)
    return replace(made, **facts)


def crl(*serials: int, ends: timedelta = HOUR) -> RevocationList:
    return RevocationList("CN=Test CA", b"signer", 1, NOW - HOUR, NOW + ends, SerialSet.of(serials))


def snapshot(lists: dict[bytes, RevocationList] | None = None, *, required: bool = False, **facts: Any) -> Snapshot:
    nothing: Any = None
    made = Snapshot(
        policy=None,
        credential=nothing,
        trust=nothing,
        revocations=Revocations(MappingProxyType(lists or {}), required),
        lists_sha256=None,
        vouchers={},
        recycle_after=None,
        generation=2,
        context=nothing,
        anchors=frozenset({ANCHOR}),
        presented_since=1,
        server_cert="",
    )
    return replace(made, **facts)


KEPT = [
    ("nothing has changed", peer(), snapshot()),
    ("a list without it", peer(), snapshot({ANCHOR_KEY: crl(8)})),
    ("a list of another authority", peer(), snapshot({b"another": crl(7)})),
    ("a list is required, and is there", peer(), snapshot({ANCHOR_KEY: crl()}, required=True)),
    ("the leaf's authority alone needs one", peer(LONG_PATH), snapshot({ISSUING_KEY: crl()}, required=True)),
    ("an intermediate is trusted by itself", peer(LONG_PATH), snapshot(anchors=frozenset({ISSUING}))),
    ("one more authority", peer(), snapshot(anchors=frozenset({ANCHOR, b"new"}))),
    ("another server certificate", peer(), snapshot(presented_since=2)),
    ("another one, and the connection is young", peer(), snapshot(presented_since=2, recycle_after=2 * HOUR)),
    ("an old connection, and the same certificate", peer(), snapshot(recycle_after=HOUR / 2)),
    ("it ends in this very second", peer((step(LEAF, 7, ANCHOR_KEY, timedelta()), PATH[1])), snapshot()),
]
DRAINED = [("another certificate, an old connection", peer(), snapshot(presented_since=2, recycle_after=HOUR))]
CUT = [
    ("revoked", peer(), snapshot({ANCHOR_KEY: crl(7)}), Objection.REVOKED.value),
    ("its authority is revoked", peer(LONG_PATH), snapshot({ANCHOR_KEY: crl(2)}), Objection.REVOKED.value),
    ("revoked by a list that is stale", peer(), snapshot({ANCHOR_KEY: crl(7, ends=-HOUR)}), Objection.REVOKED.value),
    ("the list is stale", peer(), snapshot({ANCHOR_KEY: crl(ends=-HOUR)}), Objection.STALE.value),
    ("the list is stale from now on", peer(), snapshot({ANCHOR_KEY: crl(ends=timedelta())}), Objection.STALE.value),
    ("no list, and one is required", peer(), snapshot(required=True), Objection.MISSING.value),
    ("expired", peer((step(LEAF, 7, ANCHOR_KEY, -HOUR), PATH[1])), snapshot(), "its certificate has expired"),
    (
        "its authority has expired",
        peer((PATH[0], step(ANCHOR, 1, None, -HOUR))),
        snapshot(),
        "its certificate has expired",
    ),
    ("authority gone", peer(), snapshot(anchors=frozenset({b"new"})), "its authority is no longer trusted"),
    ("nobody was verified", peer(()), snapshot(), "its authority is no longer trusted"),
    (
        "revoked, and due for the new certificate",
        peer(),
        snapshot({ANCHOR_KEY: crl(7)}, presented_since=2, recycle_after=HOUR),
        Objection.REVOKED.value,
    ),
]


@pytest.mark.parametrize(("caller", "trust"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_kept(caller: Peer, trust: Snapshot) -> None:
    assert verdict(caller, trust, NOW).action is Action.KEEP


@pytest.mark.parametrize(("caller", "trust"), [row[1:] for row in DRAINED], ids=[row[0] for row in DRAINED])
def test_drained(caller: Peer, trust: Snapshot) -> None:
    assert verdict(caller, trust, NOW).action is Action.DRAIN


@pytest.mark.parametrize(("caller", "trust", "reason"), [row[1:] for row in CUT], ids=[row[0] for row in CUT])
def test_cut(caller: Peer, trust: Snapshot, reason: str) -> None:
    found = verdict(caller, trust, NOW)
    assert (found.action, found.reason) == (Action.CUT, reason)


def test_a_keep_says_until_when_it_holds() -> None:
    """The first of: a certificate of the path ends, a list becomes stale, the connection is old enough to drain."""
    assert verdict(peer(), snapshot(), NOW).until == NOW + 24 * HOUR
    assert verdict(peer(), snapshot({ANCHOR_KEY: crl()}), NOW).until == NOW + HOUR
    assert verdict(peer(), snapshot(presented_since=2, recycle_after=1.5 * HOUR), NOW).until == NOW + HOUR / 2


def test_the_moment_at_which_a_keep_ends_is_judged_otherwise() -> None:
    """Asked again behind `until`, the answer is no keep that would hold for ever."""
    for trust in (snapshot(), snapshot({ANCHOR_KEY: crl()}), snapshot(presented_since=2, recycle_after=1.5 * HOUR)):
        until = verdict(peer(), trust, NOW).until
        assert until is not None
        assert verdict(peer(), trust, until + timedelta(seconds=1)).action is not Action.KEEP
