"""One authority after another: the steps of `pki.rotation`, and what each of them does to the folders.

A step is recorded first and then carried into the credential folders; cut off in between, `publish` carries it on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pki import revocation
from pki.authority import ISSUING
from pki.authority_files import load_authority
from pki.distribution import Distribution, distribute
from pki.facts import common_name
from pki.founding import Wish, found
from pki.keys import KeyType
from pki.profiles import AuthorityProfile
from pki.rotation import AuthorityState, LeavesLeft, Standing, Step, after, check, next_step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pki.inventory.rows import AuthorityRow
    from pki.open_state import OpenState


_NUMBERED = re.compile(r"(.*?)(?: ([0-9]{1,6}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Situation:
    """An authority, and the names that still hold a certificate that it signed."""

    row: AuthorityRow
    left: tuple[str, ...]


def situations(here: OpenState, now: datetime) -> list[Situation]:
    """Every authority of this state folder, the youngest first, and which names each of them still vouches for."""
    with here.inventory.reading() as work:
        rows = [row for row in work.authorities.all() if row.state is AuthorityState.RETIRED or here.is_here(row)]
    return [Situation(row, tuple(_left(here, row, now))) for row in rows]


def next_legal(here: OpenState) -> Step:
    """The one step that has its place now."""
    return next_step(_standings(here))[0]


def stage(
    here: OpenState,
    now: datetime,
    *,
    name: str | None = None,
    key: KeyType | None = None,
    lifetime: timedelta | None = None,
    root_passphrase: bytes | None = None,
) -> tuple[AuthorityRow, Distribution]:
    """Make the next authority and have everybody trust it. Raises IllegalStep.

    What is left open is as with the one that signs, but for the lifetime: that is the profile's.
    """
    check(Step.STAGE, _standings(here))
    signer = here.signer().authority
    signer.check_begun(now)
    present = signer.certificate
    wish = Wish(
        name or next_name(common_name(present) or ""),
        key or KeyType.of(present.public_key()),
        lifetime or AuthorityProfile().lifetime,
        root_passphrase,
    )
    _, row = found(here, wish, now, AuthorityState.STAGED)
    with here.inventory.transaction() as work:
        work.authorities.add(row)
    return row, publish(here, now)


def next_name(present: str) -> str:
    """What the next authority is called where nobody says: with a number, so that people can tell the two apart."""
    base, number = _NUMBERED.fullmatch(present.removesuffix(ISSUING)).groups()  # type: ignore[union-attr]  # always
    return f"{base or 'Authority'} {int(number or 1) + 1}"


def activate(here: OpenState, now: datetime) -> tuple[AuthorityRow, Distribution]:
    """Have the staged authority sign from now on. Raises IllegalStep, and what keeps its key from being used."""
    row = _moved(here, Step.ACTIVATE)
    load_authority(here.state.path(row.folder), here.passphrase)
    _check_publishable(here, now)
    before = here.signing()
    # Of two active ones the younger signs; the inventory counts in seconds.
    since = (
        now if before is None or before.activated_at is None else max(now, before.activated_at + timedelta(seconds=1))
    )
    _set(here, row, Step.ACTIVATE, since)
    return row, publish(here, now)


def retire(here: OpenState, now: datetime) -> tuple[Situation, Distribution]:
    """Take leave of the former authority: trusted until its last leaf has ended. Raises IllegalStep."""
    row = _moved(here, Step.RETIRE)
    _check_publishable(here, now)
    _set(here, row, Step.RETIRE)
    return Situation(row, tuple(_left(here, row, now))), publish(here, now)


def prune(here: OpenState, now: datetime) -> tuple[AuthorityRow, Distribution]:
    """Take the retiring authority out of every bundle. Raises IllegalStep, LeavesLeft."""
    row = _moved(here, Step.PRUNE)
    left = _left(here, row, now)
    if left:
        raise LeavesLeft(left)
    _check_publishable(here, now, but=row)
    _set(here, row, Step.PRUNE)
    return row, publish(here, now)


def publish(here: OpenState, now: datetime) -> Distribution:
    """Carry the present trust into every credential folder; with new revocation lists, where there are any."""
    return distribute(here) if here.state.lists() is None else revocation.publish(here, now).folders


def _check_publishable(here: OpenState, now: datetime, *, but: AuthorityRow | None = None) -> None:
    """Raise what would keep `publish` from signing, before a step is taken that nobody could be told of."""
    if here.state.lists() is not None:
        revocation.signers(here, now, but=but)


def to_reissue(here: OpenState, now: datetime) -> list[str]:
    """The names whose certificate is live and not of the authority that signs now."""
    signing = here.signing()
    with here.inventory.reading() as work:
        pairs = list(work.certificates.latest())
    near = here.near()
    return sorted(
        name.names.name
        for name, row in pairs
        if row.issuer in near
        and (signing is None or row.issuer != signing.sha256)
        and row.state == "issued"
        and row.not_after >= now
    )


def _standings(here: OpenState) -> Sequence[Standing]:
    with here.inventory.reading() as work:
        rows = [row for row in work.authorities.all() if row.state is not AuthorityState.RETIRED and here.is_here(row)]
    return [Standing(row.sha256, row.state, row.activated_at) for row in rows]


def _moved(here: OpenState, step: Step) -> AuthorityRow:
    standing = check(step, _standings(here))
    assert standing is not None, "only `stage` makes one"
    with here.inventory.reading() as work:
        row = work.authorities.get(standing.id)
    assert row is not None
    return row


def _set(here: OpenState, row: AuthorityRow, step: Step, activated_at: datetime | None = None) -> None:
    with here.inventory.transaction() as work:
        work.authorities.set_state(row.sha256, after(row.state, step), activated_at=activated_at)


def _left(here: OpenState, row: AuthorityRow, now: datetime) -> list[str]:
    """The names whose latest certificate is live and of this authority; also those that were signed for a request."""
    with here.inventory.reading() as work:
        live = {leaf.names.name for leaf in work.certificates.of_issuer(row.sha256, live_at=now)}
        known = work.names.some(sorted(live))
        return sorted(
            name
            for name in live
            if (known[name].serial if name in known else work.certificates.of_name(name)[0].serial)
            in {leaf.serial for leaf in work.certificates.of_name(name, live_at=now) if leaf.issuer == row.sha256}
        )
