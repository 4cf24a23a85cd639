"""A Plan as people read it, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pki.planning import KINDS
from pki.presentation import Mark, say, say_marked, timestamp

if TYPE_CHECKING:
    from pki.applying import Applied
    from pki.description import Description
    from pki.planning import Plan, Step, StepKind

_MARKS: dict[StepKind, Mark] = {"create": "+", "change": "~", "renew": "~", "revoke": "-"}


def say_plan(plan: Plan, description: Description) -> None:
    """A line for each thing to do, and how many there are; one line where there is nothing."""
    file = description.path
    strangers = f", and {len(plan.undescribed)} more that are not" if plan.undescribed else ""
    if plan.empty:
        said = "nothing can be done" if plan.refused else "nothing to do"
        count = len(description.names) - len(plan.refused)
        names = "1 name is" if count == 1 else f"{count} names are"
        say(f"{said}: {names} as {file} describes{strangers}")
        return
    if plan.authority is not None:
        kind = "a root and the authority below it" if plan.authority.intermediate else "the authority"
        days = "" if plan.authority.days is None else f", {plan.authority.days} days"
        say_marked("+", f"{kind} {plan.authority.name} ({plan.authority.key}{days})")
    for step in plan.steps:
        say_marked(_MARKS[step.kind], _line(step))
    if plan.lists:
        say_marked("~", "the revocation lists, half of whose time is over")
    counts = ", ".join(f"{plan.count(kind)} to {kind}" for kind in KINDS if plan.count(kind))
    say(f"{file}: {counts or 'lists to publish'}{strangers if not plan.count('revoke') else ''}")


def plan_json(plan: Plan, done: Applied | None) -> dict[str, Any]:
    """The plan, and what became of it: None where nothing was done."""
    authority = plan.authority
    return {
        "changes": not plan.empty,
        "authority": None if authority is None else {"action": "create", "name": authority.name, "key": authority.key},
        "steps": [
            {
                "action": step.kind,
                "name": step.name,
                "profile": step.profile,
                "names": step.names,
                "why": step.why,
                "serials": [row.serial for row in step.rows],
            }
            for step in plan.steps
        ],
        "publish_lists": plan.lists,
        "refused": [{"name": name, "why": why} for name, why in plan.refused],
        "undescribed": plan.undescribed,
        "notes": plan.notes,
        "applied": None
        if done is None
        else {
            "issued": [
                {
                    "action": outcome.action,
                    "name": outcome.record.names.name,
                    "serial": outcome.record.serial,
                    "not_after": timestamp(outcome.certificate.not_valid_after_utc),
                    "folder": str(outcome.folder),
                }
                for outcome in done.outcomes
            ],
            "revoked": [{"name": row.names.name, "serial": row.serial} for row in done.revoked],
            "published_lists": done.published is not None,
            "failed": [{"name": refused.name, "why": str(refused.error)} for refused in done.refused],
        },
    }


def _line(step: Step) -> str:
    who = f"{step.profile} {step.name} ({step.names})"
    serials = ", ".join(f"serial {row.serial} until {row.not_after:%Y-%m-%d}" for row in step.rows)
    if step.wanted is not None and step.kind == "create":
        who += f", {step.wanted.days} days, {step.wanted.key}"
    return who + "".join(f": {words}" for words in ("; ".join(step.why), serials) if words)
