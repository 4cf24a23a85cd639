"""docs/benchmarks.md, as one run makes it: targets first, then every figure, then what each server can do."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from tests.bench import abilities
from tests.bench.contestants import OURS
from tests.bench.report import digits, pair, target_sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.abilities import Abilities
    from tests.bench.comparison import Comparison, Spread
    from tests.bench.contestants import Contestant
    from tests.bench.measuring import Found

HEAD = """\
# Benchmarks

Written by `{command}`, and anew by each run of it: nothing here is typed by hand. Figures of one run can be compared
with each other, not with those of another machine. Where a request's microseconds go is in [design.md](design.md).
"""

METHOD = """\
## Method

- Everybody has the same P-256 certificates, requires the client's, and answers with the same bytes. One process on one
  core (`taskset`), the load on another. Servers are as they come, but that none logs requests, and that idle ones are
  not sent away while they are weighed; where one differs more, its file in `tests/bench/peers` says how.
- The load is a small Go program, `tests/bench/load`. It makes full handshakes only, verifies the server, and checks
  every answer: status, length, body, trailers. One that is wrong or missing voids all that the server did in that
  figure.
- HTTP/1.1 is 8 connections, HTTP/2 is 8 connections of 10 streams, each asking again as soon as it is answered. For
  p99 at a load everybody is offered the same requests a second, and an answer's time runs from when it was due.
- The limit of handshakes is a loop of OpenSSL alone: the library of ours, the same verification, one fixed answer; no
  asyncio, no HTTP. Ours can come near it.
- Memory is what the processes grew by (resident) over the connections that they then held. Each of these had answered
  once, and was asked again afterwards, one after the other, to see that it is alive.
- What a feature costs is the server with it on, to the one with all of them off. Two workers on two cores are set
  against one worker on one core, the load on the server's cores both times: of two cores there is none to spare.
- {rounds} rounds of {seconds:g} s, in turns, so that a slow second of the machine falls on all. A value is the median
  of the rounds (lowest - highest); a ratio is the median of the rounds' own ratios, half of which lie in the middle
  half; the CPU ratio is the same for a second of the server's CPU time, which company on its core disturbs less.
"""

FIGURES = """\
## Figures

A ratio is handclasp's value to that of the server in the line; where handclasp stands beside itself, it is the line's
value to the first line's.
"""

ABILITIES = """\
## What each can do

Asked of each while it ran, as it comes: whether the application is told who calls; whether the CertificateRequest names
the authorities; and, when certificate and revocation list had changed in its files, without a signal or a restart,
whether new connections meet the new certificate, and whether the open connection of a revoked caller has ended.

"""


def page(found: Found, command: str, drawn: Mapping[str, str]) -> str:
    """The whole page. `drawn` are the plots: titles by the name of their file."""
    parts = [
        HEAD.format(command=command),
        _facts(found.facts),
        _targets(found.comparisons),
        *(f"![{title}](benchmarks/{name})\n" for name, title in drawn.items()),
        METHOD.format(rounds=found.plan.rounds, seconds=found.plan.seconds),
        FIGURES,
        *(_figure(comparison) for comparison in found.comparisons),
        _abilities(found.able),
    ]
    if found.caveats:
        parts.append("## To be kept in mind\n\n" + "".join(f"- {note}\n" for note in found.caveats))
    return "\n".join(part for part in parts if part)


def _facts(facts: Mapping[str, str]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in facts.items())


def _targets(comparisons: Sequence[Comparison]) -> str:
    rows = [row for comparison in comparisons for row in _target_rows(comparison)]
    heads = ("figure", "of", "target", "measured", "middle half", "")
    return "## Targets\n\n" + _table(heads, rows) if rows else ""


def _target_rows(comparison: Comparison) -> Iterator[Sequence[str]]:
    figure = comparison.figure
    for other in figure.others:
        if other.name not in figure.targets:
            continue
        bound = f"{target_sign(figure)} {figure.targets[other.name]:g}"
        ratio = comparison.ratio(other)
        if ratio is None:
            yield figure.title, pair(figure, other), bound, "void", "", "not measured"
        else:
            met = "met" if figure.meets(other, ratio.median) else "**missed**"
            middle = f"{ratio.lower_quartile:.2f} - {ratio.upper_quartile:.2f}"
            yield figure.title, pair(figure, other), bound, f"**{ratio.median:.2f}**", middle, met
    if figure.answers_within and comparison.has(OURS):
        longest = comparison.latency(OURS, "longest") * 1000
        bound, met = figure.answers_within * 1000, longest <= figure.answers_within * 1000
        title = f"longest answer of {figure.connections:,} connections that were idle"
        yield title, "", f"<= {bound:g} ms", f"**{longest:.1f} ms**", "", "met" if met else "**missed**"


def _figure(comparison: Comparison) -> str:
    figure = comparison.figure
    title = f"### {figure.title}\n\n"
    if comparison.offered:
        title += f"Everybody was offered {comparison.offered:,.0f} requests a second.\n\n"
    heads = ["server", figure.unit, "ratio", "CPU ratio"]
    timed = figure.kind != "start"
    if timed:
        heads += ["p50 ms", "p99 ms", "longest ms", "server's CPU", "load's CPU"]
    rows = []
    for one in figure.contestants:
        if not comparison.has(one):
            rows.append([one.name, "void", comparison.void.get(one.name, ""), *[""] * (len(heads) - 3)])
            continue
        row = [_bold(one), _value(comparison.spread(one)), *_ratios(comparison, one)]
        if timed:
            row += [f"{comparison.latency(one, which) * 1000:.2f}" for which in ("p50", "p99", "longest")]
            row += [f"{comparison.server_share(one):.0%}", f"{comparison.load_share(one):.0%}"]
        rows.append(row)
    return title + _table(heads, rows)


def _ratios(comparison: Comparison, one: Contestant) -> tuple[str, str]:
    if one not in comparison.figure.others:
        return "", ""
    ratio, cpu = comparison.ratio(one), comparison.cpu_ratio(one)
    return f"{ratio.median:.2f}" if ratio else "", f"{cpu.median:.2f}" if cpu else ""


def _bold(one: Contestant) -> str:
    return f"**{one.name}**" if one is OURS else one.name


def _value(spread: Spread) -> str:
    places = digits(spread)
    return f"**{spread.median:,.{places}f}** ({spread.low:,.{places}f} - {spread.high:,.{places}f})"


def _abilities(able: Mapping[str, Abilities]) -> str:
    if not able:
        return ""
    said = {True: "yes", False: "no", None: "-"}
    rows = [[name, *(said[one] for one in astuple(what))] for name, what in able.items()]
    return ABILITIES + _table(("server", *abilities.heads()), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    line = "|".join(["---"] + ["---:"] * (len(heads) - 1))
    return "\n".join(
        ["| " + " | ".join(heads) + " |", f"|{line}|", *("| " + " | ".join(row) + " |" for row in rows), ""]
    )
