"""What a reader gets: the machine, the ratios first, then what they were made from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tests.bench.servers import OURS, STOCK
from tests.bench.stock import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from tests.bench.figures import Comparison, Figure, Spread
    from tests.bench.rounds import Plan
    from tests.bench.servers import Contestant

LOAD_LIMIT = 0.85
"""The share of its core from which the load may have been the limit."""

SERVER_SHARE = 0.9
"""The share of its core below which a loaded server had company there."""


def show(console: Console, facts: Mapping[str, str], comparisons: Sequence[Comparison], notes: Sequence[str]) -> None:
    """Print tables for people."""
    for name, value in facts.items():
        console.print(f"[bold]{name}[/]: {value}", highlight=False)
    console.print(_ratios(comparisons), _medians(comparisons))
    for note in notes:
        console.print(f"- {note}", highlight=False)


def as_json(facts: Mapping[str, str], plan: Plan, comparisons: Sequence[Comparison], notes: Sequence[str]) -> str:
    """The same for programs, with every round."""
    document = {
        "facts": dict(facts),
        "void": None,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "figures": {comparison.figure.key: _document(comparison) for comparison in comparisons},
        "notes": list(notes),
    }
    return json.dumps(document, indent=2)


def void_as_json(facts: Mapping[str, str], reason: str) -> str:
    return json.dumps({"facts": dict(facts), "void": reason}, indent=2)


def notes_on(comparisons: Sequence[Comparison], plan: Plan, caveat: str | None) -> list[str]:
    """What has to be known to read the figures rightly."""
    method = (
        f"{plan.rounds} interleaved rounds of {plan.seconds:g} s, each after {plan.warm_up:g} s of warm-up: short and "
        "many, since a machine's speed changes by the second. A ratio, ours to stock's, is the median of the rounds' "
        "own ratios; half of these lie in the middle half."
    )
    checked = (
        "Every answer was checked: status, length, body. Ours greets the caller by the name in the certificate, "
        "stock a guest with as many letters."
    )
    notes = [
        method,
        checked,
        f"Stock Hypercorn: its own TLS with CERT_REQUIRED; {DIFFERS}.",
        "The CPU ratio is for a second of the server's CPU time: trust it more where others share the machine.",
    ]
    tls = {f"{name} {samples[0].tls}" for comparison in comparisons for name, samples in comparison.samples.items()}
    notes.append(f"Negotiated with the same client: {'; '.join(sorted(tls))}.")
    limited = [comparison.figure.title for comparison in comparisons if comparison.load_share > LOAD_LIMIT]
    if limited:
        notes.append(f"The load used more than {LOAD_LIMIT:.0%} of its core: lower bounds are {', '.join(limited)}.")
    share = min(comparison.server_share for comparison in comparisons)
    if share < SERVER_SHARE and not limited:
        notes.append(f"The servers got {share:.0%} of their core: something else runs there, so look at the CPU ratio.")
    if caveat:
        notes.append(caveat)
    return notes


def _ratios(comparisons: Sequence[Comparison]) -> Table:
    table = Table(
        title="Ratios, Handclasp to stock Hypercorn (as it comes: its asyncio worker; or the one named)",
        title_justify="left",
    )
    table.add_column("figure")
    for heading in ("ratio", "middle half", "CPU ratio", "target", "load's CPU"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        for other in comparison.figure.others:
            figure, ratio, cpu = comparison.figure, comparison.ratio(other), comparison.cpu_ratio(other)
            table.add_row(
                figure.title + _variant(other),
                f"[bold]{ratio.median:.2f}[/]",
                f"{ratio.lower_quartile:.2f} - {ratio.upper_quartile:.2f}",
                f"{cpu.median:.2f}" if cpu else "",
                _target(figure, other, ratio.median),
                f"{comparison.load_share:.0%}" if comparison.load_share else "",
            )
    return table


def _variant(other: Contestant) -> str:
    return other.name.removeprefix(STOCK.name)


def _target(figure: Figure, other: Contestant, ratio: float) -> str:
    met = figure.meets(other, ratio)
    if met is None:
        return ""
    sign = "<=" if figure.smaller_is_better else ">="
    return f"{sign} {figure.target} {'[green]met[/]' if met else '[yellow]missed[/]'}"


def _medians(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="Medians (lowest - highest)", title_justify="left")
    table.add_column("figure")
    table.add_column(OURS.name, justify="right")
    table.add_column(STOCK.name, justify="right")
    for comparison in comparisons:
        figure = comparison.figure
        ours = _words(comparison.spread(OURS))
        for other in figure.others:
            title = f"{figure.title} {figure.unit}{_variant(other)}"
            table.add_row(title, ours, _words(comparison.spread(other)))
    return table


def _words(spread: Spread) -> str:
    return f"{spread.median:,.0f} ({spread.low:,.0f} - {spread.high:,.0f})"


def _document(comparison: Comparison) -> dict[str, Any]:
    figure = comparison.figure
    return {
        "title": figure.title,
        "unit": figure.unit,
        "target": figure.target,
        "smaller_is_better": figure.smaller_is_better,
        "load_share": comparison.load_share,
        "server_share": comparison.server_share,
        "lower_bound": comparison.load_share > LOAD_LIMIT,
        "against": {other.name: _against(comparison, other) for other in figure.others},
        "samples": {name: [asdict(one) for one in samples] for name, samples in comparison.samples.items()},
    }


def _against(comparison: Comparison, other: Contestant) -> dict[str, Any]:
    ratio, cpu = comparison.ratio(other), comparison.cpu_ratio(other)
    return {
        "ratio": asdict(ratio),
        "cpu_ratio": asdict(cpu) if cpu else None,
        "target_met": comparison.figure.meets(other, ratio.median),
    }
