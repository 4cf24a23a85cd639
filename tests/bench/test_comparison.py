"""The harness's own arithmetic, and that what it is told to measure makes sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.abilities import Abilities
from tests.bench.comparison import Comparison, Sample, Spread
from tests.bench.contestants import GRANIAN, OURS, STOCK, WITH_ALL, WITH_NOTHING
from tests.bench.figures import AGAINST_STOCK, COSTS, QUICK, REQUESTS, WHOLE
from tests.bench.loads import Outcome
from tests.bench.machine import Cores, pinned
from tests.bench.measuring import Found
from tests.bench.page import page
from tests.bench.profile import own_shares
from tests.bench.report import caveats_of, target_words, words
from tests.bench.rounds import Plan

FIGURE = REQUESTS[0]


def compared(pairs: list[tuple[float, float]]) -> Comparison:
    comparison = Comparison(FIGURE)
    for ours, stock in pairs:
        comparison.add(OURS, Sample(ours, ours * 2, load_share=0.2))
        comparison.add(STOCK, Sample(stock, stock, load_share=0.9))
    return comparison


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    """A round in which the whole machine was slow counts like the others."""
    comparison = compared([(200, 100), (20, 10), (330, 110)])
    ratio, cpu = comparison.ratio(STOCK), comparison.cpu_ratio(STOCK)
    assert ratio is not None
    assert cpu is not None
    assert (ratio.median, ratio.low, ratio.high, cpu.median) == (2.0, 2.0, 3.0, 4.0)
    assert comparison.spread(OURS).low == 20.0


def test_ratios_to_a_base_are_the_others_to_it() -> None:
    """What a feature costs is the server with it to the server without."""
    comparison = Comparison(COSTS[0])
    comparison.add(WITH_NOTHING, Sample(100))
    comparison.add(WITH_ALL, Sample(95))
    ratio = comparison.ratio(WITH_ALL)
    assert ratio is not None
    assert ratio.median == 0.95
    assert WITH_NOTHING not in COSTS[0].others


def test_who_failed_once_has_no_figure() -> None:
    """One wrong answer voids all that this server did, and the others' figures stay."""
    comparison = compared([(200, 100)])
    comparison.fail(STOCK, "another body")
    assert comparison.ratio(STOCK) is None
    assert not comparison.has(STOCK)
    assert comparison.has(OURS)
    assert any("another body" in note for note in caveats_of([comparison], None))


def test_a_load_at_its_limit_is_said() -> None:
    """Where the load was busy, the server may do more."""
    notes = caveats_of([compared([(1, 1)])], None)
    assert notes == ["HTTP/2 requests, Quart: stock hypercorn: a lower bound: the load used 90% of its core."]


@pytest.mark.parametrize(("value", "ratio", "said"), [("rate", 2.4951, "met"), ("rate", 2.494, "missed")])
def test_a_target_is_met_from_its_very_ratio_on(value: str, ratio: float, said: str) -> None:
    """At least, where more is better; at most, where less is."""
    assert target_words(Comparison(FIGURE), STOCK, ratio) == f">= 2.5 {said}"
    less = Comparison(replace(FIGURE, value="memory", targets={STOCK.name: 2.49}))
    assert target_words(less, STOCK, ratio) == f"<= 2.49 {'missed' if said == 'met' else 'met'}"
    assert target_words(Comparison(FIGURE), OURS, ratio) == ""


def test_one_round_is_its_own_spread() -> None:
    """A spread needs no second round."""
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0, 3.0)
    assert words(Spread.of([1234.5, 1300, 1200])) == "1,234 (1,200 - 1,300)"
    assert words(Spread.of([0.931])) == "0.93 (0.93 - 0.93)"


def test_an_outcome_is_read_as_the_load_writes_it() -> None:
    """A field more or less is an error, not a zero."""
    line = (
        '{"done":100,"seconds":0.5,"load_cpu":0.25,"server_cpu":0.5,"p50":0.001,"p99":0.002,"longest":0.003,'
        '"failed":0,"reason":"","tls":"TLS_AES_128_GCM_SHA256"}'
    )
    outcome = Outcome.parse(line)
    assert (outcome.rate, outcome.rate_of_cpu, outcome.load_share) == (200, 200, 0.5)
    with pytest.raises(TypeError):
        Outcome.parse('{"done":1}')


def test_a_profile_counts_the_innermost_function_of_the_main_thread() -> None:
    """Threads that wait are no part of a request, and shares are of what is left."""
    stacks = [
        "thread (0x1): MainThread;run (a.py);send (b.py) 30",
        "thread (0x1): MainThread;run (a.py) 10",
        "thread (0x2): AnyIO worker thread;wait (c.py) 60",
        "",
    ]
    assert own_shares(stacks) == [("send (b.py)", 0.75), ("run (a.py)", 0.25)]


def test_the_page_has_targets_figures_and_what_is_void() -> None:
    """Whoever reads it sees what was aimed at, what was met, and who could not be measured."""
    met, missed = compared([(300, 100), (290, 100)]), compared([(10, 10)])
    missed.fail(GRANIAN, "granian is not installed: uv sync --group bench")
    able = {"handclasp": Abilities(True, True, True, True, None)}
    found = Found(Plan([FIGURE], 2, 0.5, 0.1), {"machine": "a small one"}, [met, missed], able)
    text = page(found, "just bench", {"requests.svg": "Requests"})
    assert "| HTTP/2 requests, Quart | handclasp to stock hypercorn | >= 2.5 | **2.95** | 2.92 - 2.98 | met |" in text
    assert "| >= 2.5 | **1.00** | 1.00 - 1.00 | **missed** |" in text
    assert "| granian | void | granian is not installed: uv sync --group bench |" in text
    assert "![Requests](benchmarks/requests.svg)" in text
    assert "| handclasp | yes | yes | yes | yes | - |" in text
    assert "2 rounds of 0.5 s" in text


def test_who_is_pinned_still_knows_the_other_cores() -> None:
    """The load's process is on its own core when it starts the servers: these are to have theirs."""
    before = Cores.choose(2)
    with pinned(before.load):
        assert Cores.choose(2) == before


def test_figures_have_names_of_their_own_and_targets_of_those_who_take_part() -> None:
    """A target for somebody who is not measured would never be missed."""
    for figures in (WHOLE, QUICK, AGAINST_STOCK):
        assert len({figure.key for figure in figures}) == len(figures)
    for figure in (*WHOLE, *QUICK):
        assert set(figure.targets) <= {other.name for other in figure.others}
        assert figure.base is not None or OURS in figure.contestants
