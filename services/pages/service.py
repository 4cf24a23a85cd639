"""What the pages say, as plain values: templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.greeter.service import greet
from services.pages.text import fingerprint, moment, span, until, visible

if TYPE_CHECKING:
    from datetime import datetime

    from pki.survey import Survey
    from services.overview import Overview
    from services.peer import Peer

POST_QUANTUM = "MLKEM"

_PRESENT_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Card:
    """A caller's certificate and connection."""

    greeting: str
    kind: str
    names: tuple[tuple[str, str], ...]
    """Kind and name of each alternative name."""
    issuer: str
    serial: str
    sha256: str
    begins: str
    ends: str
    left: str
    spent: float
    """The part of its life that is over, 0 to 1."""
    ends_soon: bool
    connection: tuple[tuple[str, str, str], ...]
    """What, its value, and what that means."""


def card(peer: Peer, http_version: str, now: datetime) -> Card:
    """Describe the caller to themselves."""
    identity = peer.identity
    life = identity.not_after - identity.not_before
    spent = min(max((now - identity.not_before) / life, 0.0), 1.0) if life else 1.0
    found = [("email", name) for name in identity.emails]
    found += [("URI", name) for name in identity.uris] + [("DNS", name) for name in identity.dns_names]
    return Card(
        greeting=visible(greet(identity)),
        kind=identity.kind,
        names=tuple((kind, visible(name)) for kind, name in found),
        issuer=visible(identity.issuer),
        serial=identity.serial,
        sha256=fingerprint(identity.sha256),
        begins=moment(identity.not_before),
        ends=moment(identity.not_after),
        left=until(identity.not_after, now),
        spent=spent,
        ends_soon=spent > 2 / 3,
        connection=(
            ("Protocol", f"HTTP/{http_version}", "agreed by ALPN"),
            ("TLS", peer.tls_version, "no resumption: every connection is verified anew"),
            ("Key exchange", peer.group or "not told", _key_exchange(peer.group)),
            ("Cipher", peer.cipher, "authenticated encryption"),
            ("Verified chain", f"{len(peer.chain)} certificates", "from yours to the authority that is trusted here"),
        ),
    )


def _key_exchange(group: str | None) -> str:
    if group is not None and POST_QUANTUM in group.upper():
        return "post-quantum: what is recorded today stays closed to the quantum computers of tomorrow"
    return "forward secret, not post-quantum: this client does not offer X25519MLKEM768"


@dataclass(frozen=True, slots=True)
class Live:
    """Who is here, and who was turned away."""

    process: str
    total: int
    present: tuple[tuple[str, int, str, str], ...]
    """Identity, connections, protocols, since when."""
    more: int
    refusals: tuple[tuple[str, str, str, str, str], ...]
    """When, what, why, who, from where."""


def live(overview: Overview, now: datetime) -> Live:
    """Tell of this process: connections by identity, most first."""
    present = sorted(overview.present.items(), key=lambda item: (-item[1].connections, item[0]))
    process = f"process {overview.pid}"
    if overview.workers > 1:
        process += f", one of {overview.workers} workers: the others have connections of their own"
    return Live(
        process=process,
        total=sum(presence.connections for _, presence in present),
        present=tuple(
            (
                visible(name),
                presence.connections,
                ", ".join(f"{count} {protocol}" for protocol, count in sorted(presence.protocols.items()) if count),
                span(now - presence.since),
            )
            for name, presence in present[:_PRESENT_SHOWN]
        ),
        more=max(len(present) - _PRESENT_SHOWN, 0),
        refusals=tuple(
            (f"{found.time:%H:%M:%S}", found.event, visible(found.reason), visible(found.who, 80), found.address)
            for found in overview.refusals
        ),
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """What this process has in force."""

    rows: tuple[tuple[str, str, str, str, bool], ...]
    """What, its name, when it ends, how long that is, and whether that is soon."""
    generation: int


def trust(overview: Overview, now: datetime) -> Trust:
    """The credential that is presented, the authorities that are accepted, their lists."""
    snapshot = overview.snapshot()
    leaf = snapshot.credential.leaf
    found = [("credential", leaf.subject.rfc4514_string(), leaf.not_valid_before_utc, leaf.not_valid_after_utc)]
    found += [
        ("authority", anchor.subject.rfc4514_string(), anchor.not_valid_before_utc, anchor.not_valid_after_utc)
        for anchor in snapshot.trust
    ]
    found += [
        (f"list of {len(lists)} revoked", lists.issuer, lists.this_update, lists.next_update)
        for lists in snapshot.revocations.lists.values()
    ]
    rows = tuple(
        (what, visible(name), moment(end), until(end, now), (end - now) < (end - begin) / 4)
        for what, name, begin, end in found
    )
    return Trust(rows, snapshot.generation)


@dataclass(frozen=True, slots=True)
class Stock:
    """The inventory, ready to be laid out."""

    counts: tuple[tuple[str, int], ...]
    found: int
    certificates: tuple[tuple[str, str, str, str, str, str], ...]
    """Name, profile, state, end, how long that is, serial."""
    revoked: tuple[tuple[str, str, str, str], ...]
    """Name, reason, when, serial."""
    authorities: tuple[tuple[str, str, str], ...]
    """Name, state, end."""


def stock(survey: Survey) -> Stock:
    """Say what the survey found."""
    counts, now = survey.counts, survey.taken
    return Stock(
        counts=(
            ("names", counts.names),
            ("certificates", counts.certificates),
            ("revoked", counts.revoked),
            ("held", counts.held),
            ("living", sum(survey.ends)),
        ),
        found=survey.found,
        certificates=tuple(
            (
                visible(row.names.name),
                row.profile,
                standing,
                moment(row.not_after),
                until(row.not_after, now),
                row.serial,
            )
            for row, standing in survey.certificates
        ),
        revoked=tuple(
            (
                visible(row.names.name),
                row.reason or row.state,
                moment(row.revoked_at) if row.revoked_at else "",
                row.serial,
            )
            for row in survey.revoked
        ),
        authorities=tuple((visible(row.name), row.state.value, moment(row.not_after)) for row in survey.authorities),
    )
