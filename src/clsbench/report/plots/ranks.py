"""A critical-difference diagram: methods on an axis of mean ranks, those that do not differ joined.

Source: Demšar, JMLR 7 (2006), figure 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from clsbench.report.plots.growth import STYLES
from clsbench.report.plots.titled import save_drawn, titled
from clsbench.report.wording import shortened
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clsbench.analysis.dataset_ranks import RankedMethod, Ranks

GROUP = STYLES[0]["color"]
"""The color of the lines that join methods."""

_WIDTH, _LINE = 9.0, 0.26
"""Inches: the width of the figure, and the height of a line of text."""

_SIDE = 0.355
"""The share of the width for the names on each side."""

_LONGEST_NAME = 34


def save_ranks(ranks: Ranks, file: Path) -> None:
    """Draw the critical-difference diagram.

    Raises:
        OSError: the file cannot be written.
    """
    title = f"Mean rank by test {ranks.metric.header} over {len(ranks.datasets)} data sets"
    if ranks.test is None:
        title += " (too few for a test)"
    save_drawn(lambda: titled(ranks_figure(ranks), title, ranks.stand_ins), file)


def ranks_figure(ranks: Ranks) -> Figure:
    """The diagram without a title; the best method is on the left.

    Lines join methods that do not differ significantly, and the critical difference is shown above
    the axis.
    """
    methods, groups = sorted(ranks.methods, key=lambda each: each.mean_rank), ranks.tied
    half = (len(methods) + 1) // 2
    top = 2.7 + 0.55 * len(groups)
    bottom = top + half
    height = _LINE * (bottom + 3.2)
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((_SIDE, 0.02, 1 - 2 * _SIDE, 0.96), frameon=False)
    axes.set(xlim=(1, len(methods)), ylim=(bottom, -3.0))
    axes.axis("off")
    color = str(matplotlib.rcParams["text.color"])
    axes.plot([1, len(methods)], [1.4, 1.4], color=color, linewidth=1, clip_on=False)
    for rank in range(1, len(methods) + 1):
        axes.plot([rank, rank], [1.1, 1.4], color=color, linewidth=1, clip_on=False)
        axes.text(rank, 0.9, str(rank), ha="center", va="bottom", fontsize=9)
    if ranks.test is not None and (width := ranks.test.critical_difference) is not None:
        axes.plot([1, 1 + width], [-0.9, -0.9], color=color, linewidth=1, clip_on=False)
        for end in (1, 1 + width):
            axes.plot([end, end], [-1.1, -0.7], color=color, linewidth=1, clip_on=False)
        text = f"critical difference {width:.2f}"
        axes.text(1 + width / 2, -1.3, text, ha="center", va="bottom", fontsize=9)
    for number, (first, last) in enumerate(groups):
        ends = [methods[first].mean_rank - 0.03, methods[last].mean_rank + 0.03]
        at = 2.1 + 0.55 * number
        axes.plot(ends, [at, at], color=GROUP, linewidth=3.5, clip_on=False,
                  solid_capstyle="round", gid=f"group-{number}")  # fmt: skip
    for place, method in enumerate(methods):
        left = place < half
        at = top + (place if left else len(methods) - 1 - place)
        _draw(axes, method, len(methods), at, left, color)
    return figure


def _draw(axes: Axes, method: RankedMethod, last: int, at: float, left: bool, color: str) -> None:
    """A line from the axis to the name of the method on its side."""
    end = 1 if left else last
    x = [method.mean_rank, method.mean_rank, end]
    axes.plot(x, [1.4, at, at], color=color, linewidth=0.9, clip_on=False)
    number = f"{method.mean_rank:.2f}"
    shown = shortened(printable(method.name), _LONGEST_NAME)
    margin = 0.03 * (last - 1)
    axes.text(
        end - margin if left else end + margin,
        at,
        f"{shown}  {number}" if left else f"{number}  {shown}",
        ha="right" if left else "left",
        va="center",
        fontsize=9,
        parse_math=False,
    )
