"""The table of a suite's rows and baselines."""

from __future__ import annotations

from typing import Any

import msgspec
import pandas as pd

from clsbench.analysis.results_table import typed_series
from clsbench.analysis.suite_columns import columns
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.results.formats import to_json

HAVING_RUNS = ("finished", "in part")
"""The states of rows that have results."""


def suite_table(figures: SuiteFigures) -> pd.DataFrame:
    """One row for each row of the suite and each baseline; unknown values are missing.

    If rows differ in their number of training texts or their data set, baselines have a row for
    each.
    Accuracies and differences are fractions. ``prefix_found``: every run of the row reused cached
    activations, so from scratch it takes longer. ``against_first`` is the difference from the first
    row in the comparison, ``against_best`` from the best.
    """
    rows = [*figures.rows, *figures.baselines, *figures.further_baselines]
    return pd.DataFrame(
        {
            each.name: typed_series(each.kind, [each.read(row) for row in rows])
            for column in columns(figures.metrics)
            for each in column.values
        }
    )


def brief_table(figures: SuiteFigures) -> pd.DataFrame:
    """The table for Markdown and LaTeX: without details and without columns of usual values."""
    table = suite_table(figures)
    usual = {"state": "finished", "seeds": 1, "prefix_found": False}
    usual["train_texts"] = table["train_texts"].max()  # shown if the rows differ
    chosen = []
    for value in (each for column in columns(figures.metrics) for each in column.values):
        known = table[value.name].dropna()
        known = known[known != ""]
        if value.brief and not known.empty and (known != usual.get(value.name)).any():
            chosen.append(value.name)
    return table[chosen]


def plain_figures(figures: SuiteFigures) -> dict[str, Any]:
    """The suite's results, table and comparison as plain values for JSON."""
    return {
        **msgspec.to_builtins(figures.results),
        "table": msgspec.json.decode(to_json(suite_table(figures))),
        "metric": figures.metrics.primary,
        "comparison": figures.comparison,
        "learning_curves": figures.curves,
        "ranks": figures.ranks,
        "problems": figures.problems,
    }
