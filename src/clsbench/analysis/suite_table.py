"""The rows of a suite and the baselines beside them as one flat table of values."""

from __future__ import annotations

from typing import Any

import msgspec
import pandas as pd

from clsbench.analysis.comparison import Contender, RunComparison, training_cost
from clsbench.analysis.results_table import stand_in_names
from clsbench.analysis.standing import standing, trained
from clsbench.analysis.suite_figures import RowFigures, SuiteFigures
from clsbench.results.formats import to_json
from clsbench.schema.record import SplitMetrics

_TEXT = ("row", "title", "state", "same_as", "against_first_verdict", "against_best_verdict",
         "stand_ins")  # fmt: skip
_FLAGS = ("baseline", "modified", "prefix_found")
_COUNTS = ("seeds", "rank_best", "rank_worst", "trainable_parameters", "total_parameters",
           "peak_memory_bytes")  # fmt: skip
_NUMBERS = (
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_accuracy_sd"),
    *("against_first", "against_best"),
    *("test_accuracy_without_leaked", "without_leaked_low", "without_leaked_high"),
    *("validation_accuracy", "train_accuracy"),
    *("published_test_accuracy", "difference_from_published", "published_minutes"),
    *("calibration_error", "brier", "prefix_and_training_seconds", "total_seconds"),
)
COLUMNS = (
    *("row", "title", "baseline", "state", "same_as", "modified", "stand_ins", "seeds"),
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_accuracy_sd"),
    *("rank_best", "rank_worst", "against_first", "against_first_verdict"),
    *("against_best", "against_best_verdict"),
    *("test_accuracy_without_leaked", "without_leaked_low", "without_leaked_high"),
    *("validation_accuracy", "train_accuracy"),
    *("published_test_accuracy", "difference_from_published", "published_minutes"),
    *("calibration_error", "brier", "trainable_parameters", "total_parameters"),
    *("prefix_and_training_seconds", "prefix_found", "total_seconds", "peak_memory_bytes"),
)
"""Every column, in its order."""


HAVING_RUNS = ("finished", "in part")
"""The states of rows that have figures."""


def suite_table(figures: SuiteFigures) -> pd.DataFrame:
    """A row for each row of the suite and each baseline; what is not known is missing.

    Accuracies and differences are fractions. ``prefix_found`` says that an earlier run had kept
    some of the frozen prefix for every run of the row, which alone takes longer. ``against_first``
    is against the first row that is compared, ``against_best`` against the most accurate.
    """
    rows = [_row(each, figures) for each in figures.rows]
    if figures.comparison is not None:
        rows += [
            _baseline(each, figures, figures.comparison)
            for each in figures.comparison.contenders
            if not each.runs
        ]
    return pd.DataFrame({name: _series(name, rows) for name in COLUMNS})


def plain_figures(figures: SuiteFigures) -> dict[str, Any]:
    """The suite's results, table and comparison as plain values for JSON."""
    return {
        **msgspec.to_builtins(figures.results),
        "table": msgspec.json.decode(to_json(suite_table(figures))),
        "comparison": figures.comparison,
        "problems": figures.problems,
    }


def state_of(figures: RowFigures) -> str:
    """What became of a row: ``finished``, ``in part``, ``does not apply``, ``failed`` or ``not
    run``."""
    if figures.record is not None:
        return "in part" if figures.row.errors or figures.row.waiting else "finished"
    if figures.row.not_applicable is not None:
        return "does not apply"
    return "failed" if figures.row.errors else "not run"


def baseline_metrics(figures: SuiteFigures, name: str) -> SplitMetrics | None:
    """A baseline's figures on the test texts."""
    component = name.removeprefix("baseline ")
    for row in figures.rows:
        for run in row.runs:
            for each in run.record.baselines:
                if each.component == component:
                    return each.metrics.test
    return None


def _series(name: str, rows: list[dict[str, Any]]) -> pd.Series[Any]:
    values = [row.get(name) for row in rows]
    if name in _TEXT:
        return pd.Series(["" if value is None else str(value) for value in values], dtype="str")
    if name in _FLAGS:
        return pd.Series([bool(value) for value in values], dtype="bool")
    if name in _COUNTS:
        return pd.Series(values, dtype="Int64")
    return pd.Series([float("nan") if v is None else float(v) for v in values], dtype="float64")


def _row(each: RowFigures, figures: SuiteFigures) -> dict[str, Any]:
    published = each.row.published.accuracy.get("test") if each.row.published is not None else None
    found: dict[str, Any] = {
        "row": each.row.label,
        "title": each.row.title,
        "state": state_of(each),
        "same_as": each.row.same_as,
        "modified": each.row.modified,
        "published_test_accuracy": published,
        "published_minutes": each.row.published.minutes if each.row.published is not None else None,
        "difference_from_published": each.difference_from_published("test"),
    }
    record = each.record
    if record is None:
        return found
    seeds = {int(run.record.spec["seed"]) for run in each.runs}
    cost = training_cost(each.runs)
    found |= {
        "seeds": len(seeds),
        "stand_ins": stand_in_names(record),
        "prefix_and_training_seconds": cost.seconds,
        "total_seconds": each.mean_seconds(),
        "prefix_found": cost.prefix_found,
        "peak_memory_bytes": max(
            (run.record.peak_memory_bytes or 0 for run in each.runs), default=0
        )
        or None,
    }
    if record.parameters is not None:
        found["trainable_parameters"] = record.parameters.trainable
        found["total_parameters"] = record.parameters.total
    for split in ("train", "validation"):
        if split in each.accuracy:
            found[f"{split}_accuracy"] = each.accuracy[split].mean
    if "test" in each.accuracy:
        found["test_accuracy"] = each.accuracy["test"].mean
        found["test_accuracy_sd"] = each.accuracy["test"].sd
    if each.interval is not None:
        found |= _interval("test_accuracy", each.interval)
    if len(seeds) == 1 and record.metrics is not None:
        rest = record.metrics.test.without_leaked
        if rest is not None:
            found["test_accuracy_without_leaked"] = rest.accuracy
            found |= _interval("without_leaked", rest.interval)
    if each.contender is not None:
        found |= _contender(each.contender, figures)
    return found


def _baseline(each: Contender, figures: SuiteFigures, comparison: RunComparison) -> dict[str, Any]:
    found: dict[str, Any] = {
        "row": "",
        "title": each.name,
        "baseline": True,
        "state": "finished",
        "test_accuracy": each.accuracy,
        "prefix_and_training_seconds": each.baseline_seconds,
    }
    metrics = baseline_metrics(figures, each.name)
    if metrics is not None and metrics.without_leaked is not None:
        found |= _interval("without_leaked", metrics.without_leaked.interval)
    return found | _contender(each, figures)


def _contender(each: Contender, figures: SuiteFigures) -> dict[str, Any]:
    """What only a comparison can tell."""
    comparison = figures.comparison
    assert comparison is not None
    found: dict[str, Any] = {
        "rank_best": each.ranks.best,
        "rank_worst": each.ranks.worst,
        "test_accuracy_without_leaked": each.accuracy_without_leaked,
        "calibration_error": each.calibration_error,
        "brier": each.brier,
    }
    found |= _interval("test_accuracy", each.interval)
    first = next(
        (row.contender.name for row in figures.rows
         if row.row.label == figures.reference and row.contender is not None), None,
    )  # fmt: skip
    best = next((other.name for other in trained(comparison)), None)
    for column, against in (("against_first", first), ("against_best", best)):
        stands = standing(comparison, each.name, against) if against is not None else None
        if stands is not None and stands.found is not None:
            found |= {column: stands.found.difference, f"{column}_verdict": stands.verdict}
    return found


def _interval(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}
