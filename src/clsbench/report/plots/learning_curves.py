"""A plot of the primary metric against the number of training texts, one line per row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter

from clsbench.errors import UsageError
from clsbench.report.plots.growth import STYLES
from clsbench.report.plots.titled import save_drawn, titled
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clsbench.analysis.learning_curves import CurveLine, LearningCurves

MOST_LINES = 2 * len(STYLES)
"""Each style is used with filled and with open markers."""

_DODGE = 1.015
"""Factor between the positions of two lines, so that their intervals do not overlap."""


def save_learning_curves(curves: LearningCurves | None, file: Path) -> None:
    """Plot the learning curves with their 95 % intervals.

    Raises:
        UsageError: there are no learning curves, or more than line styles.
        OSError: the file cannot be written.
    """
    if curves is None:
        raise UsageError(
            "--plot: there are no learning curves, since no two finished rows differ only in "
            "data.train_size (vary it with --sweep data.train_size=16,64,256), and no ranks, since "
            "no method has finished on two data sets"
        )
    if len(curves.lines) > MOST_LINES:
        raise UsageError(
            f"--plot: a plot holds at most {MOST_LINES} lines, but there are {len(curves.lines)}; "
            "use fewer rows"
        )
    title = f"{curves.test_texts:,} test texts, 95 % intervals"
    save_drawn(lambda: titled(learning_curves_figure(curves), title, curves.stand_ins), file)


def learning_curves_figure(curves: LearningCurves) -> Figure:
    """The figure without a title; the number of training texts is on a logarithmic axis."""
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    middle = (len(curves.lines) - 1) / 2
    for number, line in enumerate(curves.lines):
        style = dict(STYLES[number % len(STYLES)])
        if number >= len(STYLES):
            style["markerfacecolor"] = "none"
        _draw(axes, line, _DODGE ** (number - middle), style)
    axes.set_xscale("log")
    sizes = curves.sizes()
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if curves.metric.unit == "%":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("training texts (logarithmic)")
    title = printable(f"test {curves.metric.header}")
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    legend = figure.legend(
        frameon=False, handlelength=4, fontsize=8.5, loc="outside lower center", ncols=2
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is not the start of a formula
    return figure


def _draw(axes: Axes, line: CurveLine, moved: float, style: dict[str, Any]) -> None:
    points = line.points
    errors = [
        [max(p.score - p.interval[0], 0.0) for p in points],
        [max(p.interval[1] - p.score, 0.0) for p in points],
    ]
    name = f"{line.name} (baseline)" if line.baseline else line.name
    axes.errorbar(
        [p.train_texts * moved for p in points],
        [p.score for p in points],
        yerr=errors,
        label=printable(name),
        capsize=2,
        markersize=5,
        elinewidth=1,
        **style,
    )
