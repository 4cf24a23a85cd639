"""Figures as bars, in SVG: one plot a question, the medians as bars, the lowest and highest round as whiskers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.contestants import OURS, STOCK, STOCK_UVLOOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.bench.comparison import Comparison
    from tests.bench.contestants import Contestant

PLOTS = {
    "requests.svg": ("Requests a second", ("h2", "h1", "h2-bare", "h1-bare")),
    "connections.svg": ("New connections, and how long the slowest hundredth of answers takes", ("connections", "p99")),
    "memory.svg": ("Memory of connections that idle", ("memory-400", "memory-1000", "memory-10000")),
    "bodies.svg": ("Bodies of ten megabytes", ("download-h2", "download-h1", "upload-h2", "upload-h1")),
    "rest.svg": ("gRPC, the start, and what features cost", ("grpc", "grpc-stream", "start", "costs", "workers")),
}

_COLOURS = {OURS: "#1f6f54", STOCK: "#b35c44", STOCK_UVLOOP: "#d39a86"}
_OTHERS = "#9aa5b1"


def draw(comparisons: Sequence[Comparison], folder: Path) -> Mapping[str, str]:
    """Write the plots there is something for; return their titles by file name.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("svg")
    # The same run gives the same file, with text that can be searched.
    mpl.rcParams.update(
        {"svg.hashsalt": "handclasp", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    )
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    by_key = {one.figure.key: one for one in comparisons if one.samples}
    drawn = {}
    for name, (title, keys) in PLOTS.items():
        there = [by_key[key] for key in keys if key in by_key]
        if not there:
            (folder / name).unlink(missing_ok=True)  # of an earlier run, about which the page says nothing any more
            continue
        lines = -(-len(there) // 2)
        canvas, axes = pyplot.subplots(
            lines, min(2, len(there)), figsize=(10, 0.6 + 2.5 * lines), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(there) :]:
            axis.set_visible(False)
        for axis, comparison in zip(axes.flat, there, strict=False):
            _bars(axis, comparison)
        canvas.suptitle(title)
        canvas.savefig(folder / name, metadata={"Date": None, "Creator": None}, facecolor="white")
        pyplot.close(canvas)
        drawn[name] = title
    return drawn


def _bars(axis: Axes, comparison: Comparison) -> None:
    there = [one for one in comparison.figure.contestants if comparison.has(one)]
    spreads = [comparison.spread(one) for one in there]
    medians = [spread.median for spread in spreads]
    whiskers = [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]
    bars = axis.barh(
        [one.name for one in there], medians, xerr=whiskers, color=[_colour(one) for one in there], ecolor="#444444"
    )
    axis.bar_label(bars, labels=[_number(value) for value in medians], padding=6, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.spines[["top", "right"]].set_visible(False)
    figure = comparison.figure
    better = "less is better" if figure.smaller_is_better else "more is better"
    axis.set_title(figure.title, fontsize=9, loc="left")
    axis.set_xlabel(f"{figure.unit.removeprefix('/s') or 'a second'}, {better}", fontsize=8)


def _colour(one: Contestant) -> str:
    return _COLOURS.get(one, _OTHERS)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
