"""What a reader gets on the terminal and in bench.json: the ratios first, then what they were made from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from tests.bench.contestants import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from tests.bench.comparison import Comparison, Spread
    from tests.bench.contestants import Contestant
    from tests.bench.figures import Figure
    from tests.bench.rounds import Plan

LOAD_LIMIT = 0.85
"""The share of its core from which the load may have been the limit."""

SERVER_SHARE = 0.9
"""The share of its core below which a loaded server had company there, or waited for the load."""


def show(console: Console, facts: Mapping[str, str], comparisons: Sequence[Comparison], notes: Sequence[str]) -> None:
    """Print tables for people."""
    for name, value in facts.items():
        console.print(f"[bold]{name}[/]: {escape(value)}", highlight=False)
    console.print(_ratios(comparisons))
    console.print(_medians(comparisons))
    for note in notes:
        console.print(f"- {escape(note)}", highlight=False)


def as_document(
    facts: Mapping[str, str], plan: Plan, comparisons: Sequence[Comparison], notes: Sequence[str]
) -> dict[str, Any]:
    """The same for programs, with every round."""
    return {
        "facts": dict(facts),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "void": {one.figure.key: dict(one.void) for one in comparisons if one.void},
        "figures": {comparison.figure.key: _document(comparison) for comparison in comparisons},
        "notes": list(notes),
    }


def method_of(plan: Plan) -> list[str]:
    """How it was measured."""
    method = (
        f"{plan.rounds} interleaved rounds of {plan.seconds:g} s, each after {plan.warm_up:g} s of warm-up: short and "
        "many, since a machine's speed changes by the second. A ratio is the median of the rounds' own ratios; half of "
        "these lie in the middle half."
    )
    checked = (
        "Every answer was checked: status, length, body. Servers that tell the application who calls greet the caller "
        "by name, the others a guest with as many letters."
    )
    return [
        method,
        checked,
        "The CPU ratio is for a second of the server's CPU time: trust it more where others share the machine.",
    ]


def caveats_of(comparisons: Sequence[Comparison], caveat: str | None) -> list[str]:
    """What has to be known to read the figures rightly: who is void, where the load was the limit, and `caveat`."""
    notes = []
    for comparison in comparisons:
        notes += [f"{comparison.figure.title}: {name}: void: {why}" for name, why in comparison.void.items()]
        for one in comparison.figure.contestants:
            if comparison.has(one) and comparison.load_share(one) > LOAD_LIMIT:
                share = comparison.load_share(one)
                notes.append(
                    f"{comparison.figure.title}: {one.name}: a lower bound: the load used {share:.0%} of its core."
                )
    if caveat:
        notes.append(caveat)
    return notes


def target_words(comparison: Comparison, other: Contestant, ratio: float) -> str:
    """Which ratio is aimed at, and whether it is there; empty where none is."""
    met = comparison.figure.meets(other, ratio)
    if met is None:
        return ""
    return f"{target_sign(comparison.figure)} {comparison.figure.targets[other.name]:g} {'met' if met else 'missed'}"


def pair(figure: Figure, other: Contestant) -> str:
    """Who is set against whom."""
    above, below = (OURS.name, other.name) if figure.base is None else (other.name, figure.base.name)
    return f"{above} to {below}"


def target_sign(figure: Figure) -> str:
    """At most, or at least."""
    return "<=" if figure.smaller_is_better else ">="


def digits(spread: Spread) -> int:
    """Decimal places that say something."""
    return 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2


def words(spread: Spread) -> str:
    """A median and how far the rounds lie apart."""
    places = digits(spread)
    return f"{spread.median:,.{places}f} ({spread.low:,.{places}f} - {spread.high:,.{places}f})"


def _ratios(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Ratios", title_justify="left")
    table.add_column("figure")
    for heading in ("of", "ratio", "middle half", "CPU ratio", "target"):
        table.add_column(heading, justify="left" if heading == "of" else "right")
    for comparison in comparisons:
        title = comparison.figure.title
        for other in comparison.figure.others:
            ratio, cpu = comparison.ratio(other), comparison.cpu_ratio(other)
            if ratio is None:
                continue
            table.add_row(
                title,
                pair(comparison.figure, other),
                f"[bold]{ratio.median:.2f}[/]",
                f"{ratio.lower_quartile:.2f} - {ratio.upper_quartile:.2f}",
                f"{cpu.median:.2f}" if cpu else "",
                target_words(comparison, other, ratio.median),
            )
            title = ""
    return table


def _medians(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Medians (lowest - highest)", title_justify="left")
    table.add_column("figure")
    for heading in ("server", "value", "p50 ms", "p99 ms", "server's CPU", "load's CPU"):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    for comparison in comparisons:
        title = f"{comparison.figure.title}, {comparison.figure.unit}"
        for one in comparison.figure.contestants:
            if comparison.has(one):
                table.add_row(title, one.name, words(comparison.spread(one)), *_beside(comparison, one))
            else:
                table.add_row(title, one.name, "void", "", "", "", "")
            title = ""
    return table


def _beside(comparison: Comparison, one: Contestant) -> Sequence[str]:
    if comparison.figure.kind == "start":
        return "", "", "", ""
    times = [f"{comparison.latency(one, which) * 1000:.2f}" for which in ("p50", "p99")]
    return *times, f"{comparison.server_share(one):.0%}", f"{comparison.load_share(one):.0%}"


def _document(comparison: Comparison) -> dict[str, Any]:
    figure = comparison.figure
    return {
        "title": figure.title,
        "unit": figure.unit,
        "smaller_is_better": figure.smaller_is_better,
        "offered": comparison.offered or None,
        "base": figure.base.name if figure.base else None,
        "ratios": {one.name: _against(comparison, one) for one in figure.others if comparison.ratio(one) is not None},
        "medians": {one.name: asdict(comparison.spread(one)) for one in figure.contestants if comparison.has(one)},
        "samples": {name: [asdict(one) for one in samples] for name, samples in comparison.samples.items()},
    }


def _against(comparison: Comparison, other: Contestant) -> dict[str, Any]:
    ratio, cpu = comparison.ratio(other), comparison.cpu_ratio(other)
    assert ratio is not None
    return {
        "ratio": asdict(ratio),
        "cpu_ratio": asdict(cpu) if cpu else None,
        "target": comparison.figure.targets.get(other.name),
        "target_met": comparison.figure.meets(other, ratio.median),
    }
