"""How one authority follows another, so that at every step whoever talked before still talks.

    STAGED    in every trust bundle, and signs nothing yet
    ACTIVE    signs; between `activate` and `retire` there are two, and the younger one signs
    RETIRING  signs no more, and is trusted until its last leaf has ended or was issued again
    RETIRED   out of every trust bundle

One rotation at a time: where every authority has come as far as it goes, the next one may be staged. Pure: what the
authorities are, and which leaves are left, is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pki.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class AuthorityState(StrEnum):
    """Where an authority stands."""

    STAGED = "staged"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"

    @property
    def trusted(self) -> bool:
        """Whether it is in the trust bundles."""
        return self is not AuthorityState.RETIRED


class Step(StrEnum):
    """What moves an authority on, by the words of `handclasp-pki rotate-ca`."""

    STAGE = "stage"
    ACTIVATE = "activate"
    RETIRE = "retire"
    PRUNE = "prune"


# What is not here is an error. None: an authority that does not exist yet.
_TRANSITIONS: dict[tuple[AuthorityState | None, Step], AuthorityState] = {
    (None, Step.STAGE): AuthorityState.STAGED,
    (AuthorityState.STAGED, Step.ACTIVATE): AuthorityState.ACTIVE,
    (AuthorityState.ACTIVE, Step.RETIRE): AuthorityState.RETIRING,
    (AuthorityState.RETIRING, Step.PRUNE): AuthorityState.RETIRED,
}


class IllegalStep(StateError):
    """A step that has no place now: `legal` is the one that has."""

    def __init__(self, step: Step, legal: Step) -> None:
        self.step, self.legal = step, legal
        super().__init__(
            f"`rotate-ca {step}` has no place now: the next step is `rotate-ca {legal}` "
            "(the order is stage, activate, retire, prune)"
        )


class LeavesLeft(StateError):
    """The authority cannot be pruned: `names` still hold certificates that it signed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        shown = ", ".join(self.names[:_SHOWN]) + (" and others" if len(self.names) > _SHOWN else "")
        count = f"{len(self.names)} certificate{'s' if len(self.names) > 1 else ''}"
        super().__init__(
            f"the retiring authority still vouches for {count} ({shown}): "
            "issue them again with `handclasp-pki rotate`, revoke them, or wait until they end"
        )


_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """An authority as far as its rotation needs it: `id` is the SHA-256 of its certificate."""

    id: str
    state: AuthorityState
    activated_at: datetime | None = None


def after(state: AuthorityState | None, step: Step) -> AuthorityState:
    """The state behind this step. Raises KeyError for what the table does not hold: a defect of the caller's."""
    return _TRANSITIONS[state, step]


def signer(authorities: Sequence[Standing]) -> Standing | None:
    """The one that signs: of the active ones that which became it last; None where there is none."""
    return max(
        (authority for authority in authorities if authority.state is AuthorityState.ACTIVE),
        key=lambda authority: (authority.activated_at is not None, authority.activated_at),
        default=None,
    )


def next_step(authorities: Sequence[Standing]) -> tuple[Step, Standing | None]:
    """The one legal step, and the authority that it moves: None for `stage`, which makes one."""
    signing = signer(authorities)
    for authority in authorities:
        if authority.state is AuthorityState.STAGED:
            return Step.ACTIVATE, authority
        if authority.state is AuthorityState.ACTIVE and authority is not signing:
            return Step.RETIRE, authority
        if authority.state is AuthorityState.RETIRING:
            return Step.PRUNE, authority
    return Step.STAGE, None


def check(step: Step, authorities: Sequence[Standing]) -> Standing | None:
    """The authority that the step moves, if it is the legal one. Raises IllegalStep."""
    legal, authority = next_step(authorities)
    if step is not legal:
        raise IllegalStep(step, legal)
    return authority
