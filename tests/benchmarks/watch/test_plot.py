"""Plots of the benchmarks' history."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from benchmarks.watch.history import BenchmarkRun, Result
from benchmarks.watch.plot import history_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

from clsbench.errors import UsageError


def whole_suites(groups: int, members: int, runs: int) -> list[BenchmarkRun]:
    factors = np.random.default_rng(1).lognormal(0.0, 0.02, size=(runs, groups * members))
    made = []
    for number, row in enumerate(factors.tolist()):
        results = {
            f"test_phases.py::test[{place % groups}-{place}]": Result(
                f"group {place % groups}", 1e-3 * (1 + place) * factor
            )
            for place, factor in enumerate(row)
        }
        date = f"2026-01-{number // 24 + 1:02}T{number % 24:02}:00:00"
        made.append(BenchmarkRun(Path("x"), date, f"{number:010}", "machine", results))
    return made


def test_history_figure_of_a_whole_suite_does_not_overlap() -> None:
    runs = whole_suites(4, 12, 40)
    names = list(runs[0].results)
    figure = history_figure([runs], names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = []
    for axes in figure.axes:
        assert axes.get_title(loc="left").endswith(", machine 1")
        assert len(axes.lines) <= 8, "as many as can be distinguished"
        places = [each.get_window_extent() for each in axes.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(places))
        assert axes.get_xticks()[-1] == 39, "the last run is labelled"
        legend = axes.get_legend()
        assert legend is not None
        assert figure.bbox.contains(*legend.get_window_extent().max)
        texts = [text.get_text() for text in legend.get_texts()]
        assert len(texts) == len(axes.lines)
        shown += texts
        ticks = [*axes.get_yticklabels(), *axes.get_yticklabels(minor=True)]
        assert sum(bool(tick.get_text()) for tick in ticks) >= 2, (
            "the scale has at least two labels"
        )
    assert sorted(shown) == sorted(name.partition("::")[2] for name in names)


def test_history_figure_without_measurements_is_refused() -> None:
    run = BenchmarkRun(Path("x"), "2026-01-01", "abc", "machine", {"a": Result("group", None)})
    with pytest.raises(UsageError, match="none of the chosen benchmarks was measured"):
        history_figure([[run]], ["a"])


def test_history_figure_with_too_many_panels_is_refused() -> None:
    runs = whole_suites(50, 1, 2)
    with pytest.raises(UsageError, match=r"50 panels, more than 40: choose some by --only"):
        history_figure([runs], list(runs[0].results))
