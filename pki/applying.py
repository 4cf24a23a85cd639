"""Making a state folder as a description says, step by step of a Plan. Killed at any instant, the next run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki import revocation
from pki.crl_signing import Reason
from pki.errors import PKIError
from pki.issuing import Issuing
from pki.planning import plan_for
from pki.renewal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pki.description import Description
    from pki.inventory.rows import CertificateRow
    from pki.issuing import Action, Outcome
    from pki.lifecycle import Lifecycle
    from pki.open_state import OpenState
    from pki.planning import Plan, Step, StepKind
    from pki.revocation import Published

_ACTIONS: dict[StepKind, Action] = {"create": "issued", "change": "rotated", "renew": "renewed"}


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done: outcomes in the order of the plan, certificates that were revoked, lists that were published."""

    outcomes: tuple[Outcome, ...]
    revoked: tuple[CertificateRow, ...]
    published: Published | None
    refused: tuple[Refused, ...]


def apply(
    lifecycle: Lifecycle,
    description: Description,
    shown: Plan,
    *,
    now: datetime,
    root_passphrase: bytes | None = None,
    on_each: Callable[[Outcome | Refused], None] = lambda _: None,
) -> Applied:
    """Do what was shown, as far as it is still to be done once the folder is held; what is new waits for the next run.

    A name that fails keeps no other from being done: it is among the refused ones.
    """
    if shown.authority is not None:
        wish = shown.authority
        lifecycle.init(wish.name, key=wish.key, days=wish.days, now=now, ensure=True, root_passphrase=root_passphrase)
    with lifecycle.writing() as here:
        prune = any(step.kind == "revoke" for step in shown.steps)
        fresh = plan_for(here, lifecycle, description, now=now, prune=prune)
        steps = [step for step in fresh.steps if step in shown.steps]
        revoking = [step for step in steps if step.kind == "revoke"]
        if revoking:
            revocation.signers(here, now)  # nothing is begun that could not be published for want of a key
        outcomes, refused = _issue(lifecycle, here, [step for step in steps if step.kind != "revoke"], now, on_each)
        why = Reason.CESSATION_OF_OPERATION
        revoked = [row for step in revoking for row in revocation.revoke(here, step.rows, why, now, step.name)]
        published = revocation.publish(here, now) if revoked or fresh.lists else None
    return Applied(tuple(outcomes), tuple(revoked), published, tuple(refused))


def _issue(
    lifecycle: Lifecycle,
    here: OpenState,
    steps: list[Step],
    now: datetime,
    on_each: Callable[[Outcome | Refused], None],
) -> tuple[list[Outcome], list[Refused]]:
    outcomes: list[Outcome] = []
    refused: list[Refused] = []
    if not steps:
        return outcomes, refused
    issuing = Issuing.begin(here, now=now, requested_by=lifecycle.requested_by)
    issuing.signer.authority.check_valid(now)
    for step in steps:
        assert step.wanted is not None
        try:
            outcomes.append(issuing.put(_ACTIONS[step.kind], step.wanted, step.known))
            on_each(outcomes[-1])
        except PKIError as error:
            refused.append(Refused(step.name, error))
            on_each(refused[-1])
    return outcomes, refused
