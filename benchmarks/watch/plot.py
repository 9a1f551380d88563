"""Plot the medians of all benchmarks over the runs, with a panel per group and machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from clsbench.errors import UsageError
from clsbench.report.plots.growth import STYLES, minor_label
from clsbench.results.curves import SETTINGS, save_figure
from clsbench.schema.quantities import duration_text

if TYPE_CHECKING:
    from benchmarks.watch.history import BenchmarkRun
    from matplotlib.axes import Axes

_MOST_PANELS = 40
_PANEL_INCHES = 2.7
_MOST_DATES = 8


def save_history(
    machines: Sequence[Sequence[BenchmarkRun]], names: Sequence[str], file: Path
) -> None:
    """Draw the median of every benchmark over the runs.

    Raises:
        OSError: the file cannot be written.
        UsageError: there are too many for a figure.
    """
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = history_figure(machines, names)
        save_figure(figure, file)


def history_figure(machines: Sequence[Sequence[BenchmarkRun]], names: Sequence[str]) -> Figure:
    """The figure: a panel for each group of benchmarks on each kind of machine.

    Raises:
        UsageError: there would be too many panels.
    """
    panels = [
        (number, runs, group, part)
        for number, runs in enumerate(machines, 1)
        for group, members in _by_group(runs, names).items()
        for part in (members[at : at + len(STYLES)] for at in range(0, len(members), len(STYLES)))
    ]
    if not panels:
        raise UsageError("none of the chosen benchmarks was measured in any run: nothing to draw")
    if len(panels) > _MOST_PANELS:
        raise UsageError(
            f"{len(names)} benchmarks of {len(machines)} kinds of machines would be {len(panels)} "
            f"panels, more than {_MOST_PANELS}: choose some by --only"
        )
    figure = Figure(figsize=(10.5, _PANEL_INCHES * len(panels)), layout="constrained")
    every = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (number, runs, group, part) in zip(every, panels, strict=True):
        _draw_history(axes, runs, part)
        axes.set_title(f"{group}, machine {number}", fontsize=9, loc="left", parse_math=False)
    return figure


def _by_group(runs: Sequence[BenchmarkRun], names: Sequence[str]) -> dict[str, list[str]]:
    """The names of the benchmarks that were measured in any of the runs, by group."""
    groups: dict[str, list[str]] = {}
    for name in names:
        results = [run.results[name] for run in runs if name in run.results]
        if any(result.seconds is not None for result in results):
            groups.setdefault(results[-1].group or "benchmarks", []).append(name)
    return groups


def _draw_history(axes: Axes, runs: Sequence[BenchmarkRun], names: Sequence[str]) -> None:
    for name, style in zip(names, STYLES, strict=False):
        times = [
            (place, run.results[name].seconds)
            for place, run in enumerate(runs)
            if name in run.results and run.results[name].seconds is not None
        ]
        places, seconds = zip(*times, strict=True)
        label = name.partition("::")[2] or name
        axes.plot(places, seconds, label=label, markersize=4, **style)
    lowest, highest = axes.get_ylim()
    if highest > 2 * lowest:  # otherwise there would hardly be a tick
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(FuncFormatter(minor_label(*axes.get_ylim())))
    axes.set_ylabel("median time of a call", fontsize=8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration_text(value)))
    axes.tick_params(axis="y", which="both", labelsize=7)
    step = math.ceil(len(runs) / _MOST_DATES)
    shown = range((len(runs) - 1) % step, len(runs), step)  # always label the last
    ticks = [f"{runs[place].date[5:16]}\n{runs[place].commit[:8]}" for place in shown]
    axes.set_xticks(list(shown), ticks, fontsize=7)
    axes.set_xlabel("run (date, commit)", fontsize=8)
    legend = axes.legend(frameon=False, handlelength=4, fontsize=7, loc="center left",
                         bbox_to_anchor=(1.0, 0.5))  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
