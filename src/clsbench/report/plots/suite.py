"""The plot of a suite: learning curves, or mean ranks over data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsbench.report.plots.learning_curves import save_learning_curves
from clsbench.report.plots.ranks import save_ranks

if TYPE_CHECKING:
    from clsbench.analysis.suite_figures import SuiteFigures


def save_suite_plot(figures: SuiteFigures, file: Path) -> None:
    """Draw the critical-difference diagram if the suite has ranks, else its learning curves.

    Raises:
        UsageError: it has neither, or more curves than line styles.
        OSError: the file cannot be written.
    """
    if figures.ranks is not None:
        save_ranks(figures.ranks, file)
    else:
        save_learning_curves(figures.curves, file)
