"""Reliability diagrams: accuracy by confidence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from clsbench.errors import UsageError
from clsbench.report.plots.growth import STYLES
from clsbench.report.plots.titled import save_drawn, titled
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clsbench.analysis.calibration import Calibration
    from clsbench.analysis.comparison import Contender, RunComparison


def save_reliability(comparison: RunComparison, file: Path) -> None:
    """Plot accuracy against confidence in ten bins, with Wilson's 95 % intervals.

    Raises:
        UsageError: no contender has a calibration, or there are more than line styles.
        OSError: the file cannot be written.
    """
    if not any(contender.calibration for contender in comparison.contenders):
        raise UsageError(
            "--plot shows the calibration of the most probable class, which multi-label data do "
            "not have: their texts have any number of classes"
        )
    save_drawn(lambda: reliability_figure(comparison), file)


def reliability_figure(comparison: RunComparison) -> Figure:
    """The figure; the legend gives the calibration error of each contender."""
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    lowest = 1 / len(comparison.class_names)
    axes.plot([lowest, 1], [lowest, 1], color="#777777", linewidth=1, label="perfect calibration")
    drawn = [each for each in comparison.contenders if each.calibration is not None]
    if len(drawn) > len(STYLES):
        raise UsageError(
            f"a plot holds at most {len(STYLES)} curves, but {len(drawn)} were requested: name "
            "fewer runs, or use clsbench report, which plots each run separately"
        )
    for contender, style in zip(drawn, STYLES, strict=False):
        assert contender.calibration is not None
        label = f"{_name(contender)} (calibration error {contender.calibration.ece:.3f})"
        draw_reliability(axes, contender.calibration, label=label, **style)
    stand_ins = [by for each in drawn for by in each.stand_ins]
    titled(figure, f"{comparison.texts:,} test texts", stand_ins)
    axes.set_xlabel("confidence: probability of the predicted class")
    axes.set_ylabel("accuracy (95 % interval)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlim(lowest - 0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend = figure.legend(frameon=False, handlelength=4, fontsize=8.5, loc="outside lower center")
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is not the start of a formula
    return figure


def draw_reliability(axes: Axes, calibration: Calibration, **style: Any) -> None:
    """Draw accuracy over confidence with intervals; larger points hold more texts."""
    bins = calibration.bins
    errors = [
        [b.accuracy - b.interval[0] for b in bins],
        [b.interval[1] - b.accuracy for b in bins],
    ]
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    axes.errorbar(x, y, yerr=errors, elinewidth=1, markersize=3, clip_on=False, **style)
    for b in bins:
        axes.plot(
            b.confidence,
            b.accuracy,
            color=style["color"],
            marker=style["marker"],
            markersize=round(3 + 7 * math.sqrt(b.n / calibration.n)),
            clip_on=False,
        )


def _name(contender: Contender) -> str:
    """Its name, with the seed that is drawn if there are several."""
    several = len(contender.seeds) > 1
    return printable(f"{contender.name}, seed {contender.seeds[0]}" if several else contender.name)
