"""What it takes for a state folder to be as a description says: a Plan, made by looking alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pki import revocation
from pki.credential import is_occupied, load_folder
from pki.errors import AlreadyExists, CorruptState, NotFound, PKIError
from pki.inventory.rows import NameRow, fingerprint
from pki.keys import describe_key
from pki.listing import standing_of
from pki.renewal import check_not_revoked, due_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pki.description import Description, Founder
    from pki.inventory.rows import AuthorityRow, CertificateRow
    from pki.issuing import Request
    from pki.lifecycle import Lifecycle
    from pki.open_state import OpenState

StepKind = Literal["create", "change", "renew", "revoke"]
KINDS: tuple[StepKind, ...] = ("create", "change", "renew", "revoke")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do to a name, and why. `wanted` is what it shall be; of one to revoke that is None."""

    kind: StepKind
    name: str
    profile: str
    names: str
    why: tuple[str, ...] = ()
    wanted: NameRow | None = field(default=None, compare=False)
    known: NameRow | None = field(default=None, compare=False)
    rows: tuple[CertificateRow, ...] = ()
    """The certificates to revoke."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All there is to do, and what cannot be done."""

    authority: Founder | None
    """The authority to make; None where there is one."""
    steps: tuple[Step, ...]
    lists: bool
    """Whether the revocation lists are to be published again, since half of their time is over."""
    refused: tuple[tuple[str, str], ...]
    """Names that cannot be as they are described, each with the reason and what to do."""
    undescribed: tuple[str, ...]
    """Names that are not in the description and have a certificate that counts."""
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.authority is None and not self.steps and not self.lists

    def count(self, kind: StepKind) -> int:
        """How many steps of this kind there are; the authority is one of them."""
        return sum(step.kind == kind for step in self.steps) + (kind == "create" and self.authority is not None)


def plan(lifecycle: Lifecycle, description: Description, *, now: datetime, prune: bool) -> Plan:
    """Look at what there is, and say what is to be done. Writes nothing where there is an inventory or nothing at all.

    Raises StateError and its kin, as reading a state folder does.
    """
    try:
        with lifecycle.reading() as here:
            return plan_for(here, lifecycle, description, now=now, prune=prune)
    except NotFound:
        if os.path.lexists(lifecycle.state.authority):
            raise
    # Not even an authority: everything is new, but for folders that are in the way.
    steps, refused, taken = [], [], dict[str, str]()
    for row in (_wanted(lifecycle, request) for request in description.names):
        try:
            _check_folder(lifecycle, row, taken)
            if is_occupied(lifecycle.state.path(row.folder)):
                raise AlreadyExists(_in_the_way(lifecycle.state.path(row.folder)))
            steps.append(_create(row))
        except PKIError as error:
            refused.append((row.names.name, str(error)))
    return Plan(description.authority, tuple(steps), lists=False, refused=tuple(refused), undescribed=())


def plan_for(here: OpenState, lifecycle: Lifecycle, description: Description, *, now: datetime, prune: bool) -> Plan:
    """The plan for a state folder that is open.

    Raises CorruptState where its authority was there and is not any more: nobody but a person makes another.
    """
    signing = here.signing()
    if signing is None and os.path.lexists(here.state.authority):
        here.signer()  # says why it does not sign
    if signing is None and here.inventory.database.path is not None:
        raise CorruptState(
            f"the authority of {here.state.folder} is gone, and its inventory is there: restore it from a copy, or "
            "make another with `handclasp-pki init`",
            path=here.state.folder,
        )
    look = _Look(here, now, signing, {row.sha256: row for row in here.trusted()}, here.near())
    steps: list[Step] = []
    refused = []
    taken: dict[str, str] = {}
    for request in description.names:
        try:
            wanted = _wanted(lifecycle, request)
            _check_folder(lifecycle, wanted, taken)
            if step := look.at(wanted):
                steps.append(step)
        except PKIError as error:
            refused.append((request.names.name, str(error)))
    strangers = list(look.strangers({request.names.name for request in description.names}))
    if prune:
        steps += strangers
    at = revocation.republish_at(here) if here.state.lists_file.exists() else now
    return Plan(
        authority=description.authority if signing is None else None,
        steps=tuple(steps),
        lists=here.state.lists_file.exists() and (at is None or at <= now),
        refused=tuple(refused),
        undescribed=tuple(step.name for step in strangers),
        notes=tuple(_unlike(signing, description.authority)) if signing else (),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    here: OpenState
    now: datetime
    signing: AuthorityRow | None
    trusted: dict[str, AuthorityRow]
    near: set[str]

    def at(self, wanted: NameRow) -> Step | None:
        """What is to be done for a name; None is nothing. Raises StateError where it cannot be as it is wanted."""
        name, folder = wanted.names.name, self.here.state.path(wanted.folder)
        known, latest = self.here.name(name) or (None, self.here.latest(name))
        if latest is not None and latest.issuer not in self.near:
            self.here.check_near(latest)
        check_not_revoked(latest, name)
        if known is None:
            if is_occupied(folder):
                raise AlreadyExists(_in_the_way(folder))
            return _create(wanted)
        if known.folder == wanted.folder:
            self.here.check_holder(wanted)
        elif is_occupied(folder):
            raise AlreadyExists(_in_the_way(folder))
        if why := tuple(_differences(known, wanted)) or self._trouble(wanted, latest):
            return Step("change", name, wanted.profile, wanted.names.described(), why, wanted, known)
        if latest is not None and due_at(latest) <= self.now and not self._ends_with_authority(latest):
            why = (f"is due, it ends on {latest.not_after:%Y-%m-%d}",)
            return Step("renew", name, wanted.profile, wanted.names.described(), why, wanted, known)
        return None

    def strangers(self, described: set[str]) -> Iterator[Step]:
        """Names with a credential folder here that are not described, and whose certificates count."""
        for known, _ in self.here.names(None):
            name = known.names.name
            if name in described:
                continue
            with self.here.inventory.reading() as work:
                rows = work.certificates.of_name(name, live_at=self.now)
            if rows:
                why = ("is not described",)
                yield Step("revoke", name, known.profile, known.names.described(), why, known=known, rows=tuple(rows))

    def _trouble(self, wanted: NameRow, latest: CertificateRow | None) -> tuple[str, ...]:
        """What is the matter with a credential that is what is wanted: nothing, mostly."""
        if latest is None:
            return ("has no certificate any more",)
        standing = standing_of(latest, self.trusted, self.now)
        if standing == "expired":
            return (f"has ended on {latest.not_after:%Y-%m-%d}",)
        if standing != "valid":
            return ("is of an authority that is not trusted any more" if standing == "orphaned" else f"is {standing}",)
        folder = self.here.state.path(wanted.folder)
        if not is_occupied(folder):
            return (f"{folder} is missing",)
        try:
            credential, trust = load_folder(folder)
        except PKIError:
            return (f"{folder} is damaged",)
        if fingerprint(credential.leaf) != latest.sha256:
            return (f"{folder} does not hold the latest certificate",)
        return () if self.trusted[latest.issuer].anchor in trust else (f"{folder} does not trust its own authority",)

    def _ends_with_authority(self, latest: CertificateRow) -> bool:
        return self.signing is not None and latest.not_after >= self.signing.not_after


def _differences(known: NameRow, wanted: NameRow) -> Iterator[str]:
    for what in ("profile", "key", "days", "folder"):
        was, shall = getattr(known, what), getattr(wanted, what)
        if was != shall:
            yield f"{what} {was} -> {shall}"
    for what, field_name in (("email", "emails"), ("uri", "uris"), ("dns", "dns_names"), ("ip", "ip_addresses")):
        was, shall = getattr(known.names, field_name), getattr(wanted.names, field_name)
        changes = [f"+{text}" for text in shall if text not in was] + [f"-{text}" for text in was if text not in shall]
        if changes:
            yield f"{what} {' '.join(changes)}"
        elif was != shall:  # who reads a certificate reads the first one
            yield f"{what} in the order {' '.join(shall)}"


def _unlike(row: AuthorityRow, described: Founder) -> Iterator[str]:
    """An authority is not replaced in one step: what is not as described is said, with the way there."""
    key = describe_key(row.certificate.public_key())
    if row.name != described.name or key != described.key:
        yield (
            f"the authority is {row.name} ({key}), and {described.name} ({described.key}) is described: it is replaced "
            f"in steps, `handclasp-pki rotate-ca stage --name '{described.name}' --key {described.key}`"
        )


def _wanted(lifecycle: Lifecycle, request: Request) -> NameRow:
    state, names = lifecycle.state, request.names
    folder = state.default_folder(names.name) if request.out is None else state.written_down(request.out)
    assert request.key is not None
    assert request.days is not None
    return NameRow(request.profile.label, names, request.key, request.days, folder)


def _check_folder(lifecycle: Lifecycle, wanted: NameRow, taken: dict[str, str]) -> None:
    """Raise PKIError where no credential may be, or where another name's shall be, which then is in `taken`."""
    lifecycle.state.check_for_a_credential(wanted.folder)
    other = taken.setdefault(os.path.realpath(lifecycle.state.path(wanted.folder)), wanted.names.name)
    if other != wanted.names.name:
        raise AlreadyExists(
            f"{lifecycle.state.path(wanted.folder)} is the folder of {other} already: write another out"
        )


def _create(wanted: NameRow) -> Step:
    return Step("create", wanted.names.name, wanted.profile, wanted.names.described(), (), wanted)


def _in_the_way(folder: object) -> str:
    return f"{folder} holds a credential already: move that away, or write another out"
