"""How the time and memory of a suite's new runs compare with their estimates."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from clsbench.analysis.comparison import reused_prefix
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_figures import SuiteFigures

_MUCH_TIME = 1.0
"""Seconds. Lower estimates are dominated by fixed costs and the machine's load."""

_MUCH_MEMORY = 2 * 10**9
"""Bytes. Lower estimates are dominated by the memory of the libraries."""


def estimates_in_words(figures: SuiteFigures) -> str | None:
    """The comparison in one sentence; ``None`` without new runs."""
    times = [t for row in figures.rows if (t := _seconds_over_estimate(row)) is not None]
    if not times:
        return None
    text = (
        f"The new runs took {_middle_and_range(times)} times the estimated time (training, "
        "evaluation and frozen layers that were not cached)"
    )
    memory = [m for row in figures.rows if (m := _memory_over_estimate(row)) is not None]
    if memory:
        text += f" and {_middle_and_range(memory)} times the estimated memory"
    return text + "."


def _seconds_over_estimate(row: RowFigures) -> float | None:
    """The time of the new runs divided by its estimate.

    It includes training, evaluation and, if it was not cached, the frozen prefix.
    """
    estimate = row.row.estimate
    fresh = [run for run in row.runs if run.path.name not in row.row.stored]
    if estimate is None or not fresh or row.row.same_as is not None:
        return None
    phases = ["training", "evaluation"]
    expected = estimate.training_seconds + estimate.evaluation_seconds
    if not any(reused_prefix(run) for run in fresh):
        phases.append("prefix")
        expected += estimate.prefix_seconds
    taken = [run.record.phases_seconds.get(name, 0.0) for run in fresh for name in phases]
    return sum(taken) / len(fresh) / expected if expected >= _MUCH_TIME else None


def _memory_over_estimate(row: RowFigures) -> float | None:
    """The peak memory of the new runs divided by its estimate; ``None`` for small estimates."""
    ratios = []
    for run in row.runs:
        peak, expected = run.record.peak_memory_bytes, run.record.memory_bytes_expected
        if peak and expected and expected >= _MUCH_MEMORY:
            ratios += [peak / expected] if run.path.name not in row.row.stored else []
    return max(ratios, default=None) if row.row.same_as is None else None


def _middle_and_range(ratios: Sequence[float]) -> str:
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return f"{middle:.2f}" + (f" ({low:.2f} to {high:.2f})" if len(ratios) > 1 else "")
