"""A plot of time against a swept setting; both axes are logarithmic if the setting is a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from clsbench.report.plots.titled import save_drawn, titled
from clsbench.report.terminal.bench import circumstances_text
from clsbench.schema.quantities import duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clsbench.bench.run import BenchReport
    from clsbench.bench.sampling import Interval

_FEWEST_POINTS = 3

# Dashes, markers and lightness differ, so that the curves are distinct in black and white too.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0b3c6f", "linestyle": "-", "marker": "o"},
    {"color": "#d9731a", "linestyle": "-.", "marker": "s"},
    {"color": "#2e7d4f", "linestyle": "--", "marker": "^"},
    {"color": "#7a2a6b", "linestyle": ":", "marker": "D"},
    {"color": "#555555", "linestyle": (0, (6, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": "#a3b300", "linestyle": (0, (1, 1)), "marker": "P"},
    {"color": "#c43b4e", "linestyle": (0, (8, 2)), "marker": "X"},
    {"color": "#2aa0c4", "linestyle": (0, (3, 1, 1, 1)), "marker": "*"},
)


def save_growth(report: BenchReport, file: Path) -> None:
    """Plot the median time of each phase with its interval against the swept setting.

    Raises:
        OSError: the file cannot be written.
    """
    save_drawn(lambda: growth_figure(report), file)


def growth_figure(report: BenchReport) -> Figure:
    """The figure; with at least three points the legend gives the fitted exponent of each phase."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.add_subplot()
    numbers = _numbers([point.value for point in report.points])
    places = numbers or [float(place) for place in range(len(report.points))]
    title = f"{report.experiment}, {circumstances_text(report)}"
    titled(figure, title, [each.by for point in report.points for each in point.stand_ins])
    phases = dict.fromkeys(m.phase for point in report.points for m in point.measurements)
    for phase, style in zip(phases, STYLES, strict=False):
        found = [
            (place, m.timing.seconds)
            for place, point in zip(places, report.points, strict=True)
            for m in point.measurements
            if m.phase == phase and m.timing.seconds is not None
        ]
        if found:
            found = sorted(found, key=lambda each: each[0])
            if numbers is None:  # categories are not joined by a line
                style = {**style, "linestyle": "none"}
            _draw(axes, phase, found, style, fitted=numbers is not None)
    axes.set_yscale("log")
    axes.set_ylabel("median time per call (95 % interval)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration_text(value)))
    axes.yaxis.set_minor_formatter(FuncFormatter(minor_label(*axes.get_ylim())))
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.set_xlabel(_label(report))
    if numbers is None:
        axes.set_xticks(range(len(report.points)), [point.value for point in report.points])
    else:
        axes.set_xscale("log")
        axes.set_xticks(numbers, [point.value for point in report.points])
        axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(frameon=False, handlelength=4, fontsize=8.5, loc="outside lower center", ncols=2)
    return figure


def fitted_exponent(numbers: list[float], seconds: list[float]) -> float | None:
    """The slope of a line fitted to the logarithms; ``None`` with fewer than three points."""
    if len(numbers) < _FEWEST_POINTS:
        return None
    return float(np.polyfit(np.log(numbers), np.log(seconds), 1)[0])


def _draw(
    axes: Axes,
    phase: str,
    found: list[tuple[float, Interval]],
    style: dict[str, Any],
    fitted: bool,
) -> None:
    places = [place for place, _ in found]
    medians = [seconds.median for _, seconds in found]
    errors = [
        [seconds.median - seconds.low for _, seconds in found],
        [seconds.high - seconds.median for _, seconds in found],
    ]
    exponent = fitted_exponent(places, medians) if fitted else None
    label = phase if exponent is None else f"{phase} (grows as n^{exponent:.2f})"
    axes.errorbar(places, medians, yerr=errors, label=label, capsize=2, markersize=5, **style)


def minor_label(lowest: float, highest: float) -> Callable[[float, int | None], str]:
    """A formatter of minor ticks for an axis from ``lowest`` to ``highest``.

    It labels every tick on a short axis, multiples of 2 and 5 on a longer one, and none on an axis
    of more than two decades.
    """
    wide = highest > 100 * lowest
    shown = (2, 5) if highest > 5 * lowest else range(1, 10)

    def label(value: float, place: int | None) -> str:
        digit = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
        return "" if wide or digit not in shown else duration_text(value)

    return label


def _numbers(values: list[str]) -> list[float] | None:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(number > 0 for number in numbers) else None


def _label(report: BenchReport) -> str:
    units = {
        "train.batch_size": "texts per batch",
        "data.padding": "token positions per text",
        "threads": "CPU threads",
    }
    return units.get(report.swept or "", report.swept or "")
