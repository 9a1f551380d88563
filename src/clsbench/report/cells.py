"""The table cells of suites and comparisons, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from clsbench.analysis.comparison import reused_prefix
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_columns import Column, Form
from clsbench.analysis.suite_table import HAVING_RUNS
from clsbench.report.wording import (
    FOUND,
    SHOWN,
    metric_difference,
    metric_range,
    metric_text,
    percent,
    percent_interval,
    points,
    spread_text,
)
from clsbench.schema.quantities import duration_text, size_text


class Cell(NamedTuple):
    """A cell: its text, the value it is sorted by, and its class in the style sheet."""

    text: str
    value: float | None = None
    kind: str = ""


NOTHING = Cell("–", None, "muted")


def cell_of(column: Column, row: RowFigures) -> Cell:
    """The cell of ``row`` in ``column``."""
    values = [None if missing(v := each.read(row)) else v for each in column.values]
    if missing(values[0]):
        return NOTHING if column.form != "score" else _state(row)
    return _FORMS[column.form](values, column, row)


def missing(value: Any) -> bool:
    """Whether a value is unknown."""
    return value is None or value != value


def _state(row: RowFigures) -> Cell:
    if row.baseline:  # it lacks probabilities, which the metric needs
        return NOTHING
    return Cell("no results" if row.state in HAVING_RUNS else row.state, None, "state")


def _score(values: list[Any], column: Column, row: RowFigures) -> Cell:
    mean, sd = values
    return Cell(spread_text(column.metric, mean, sd), mean, "strong")


def _interval(values: list[Any], column: Column, row: RowFigures) -> Cell:
    low, high = values
    return Cell(metric_range(column.metric, low, high), low)


def _rank(values: list[Any], column: Column, row: RowFigures) -> Cell:
    best, worst = values
    text = f"{best}" if best == worst else f"{best}–{worst}"
    return Cell(text, best + worst / 1000)


def _difference(values: list[Any], column: Column, row: RowFigures) -> Cell:
    difference, verdict = values
    text = metric_difference(column.metric, difference)
    if verdict not in ("better", "worse"):
        return Cell(text, difference)
    return Cell(f"{text} {SHOWN}", difference, verdict)


def _metric(values: list[Any], column: Column, row: RowFigures) -> Cell:
    value, *ends = values
    interval = f" ({percent_interval((ends[0], ends[1]))})" if ends and None not in ends else ""
    return Cell(metric_text(column.metric, value) + interval, value)


def _seconds(values: list[Any], column: Column, row: RowFigures) -> Cell:
    seconds, *found = values
    reused = found[0] if found else any(map(reused_prefix, row.runs))
    return Cell(duration_text(seconds) + (f" {FOUND}" if reused else ""), seconds)


_FORMS: Mapping[Form, Callable[[list[Any], Column, RowFigures], Cell]] = {
    "score": _score,
    "interval": _interval,
    "rank": _rank,
    "difference": _difference,
    "points": lambda values, *_: Cell(points(values[0]), values[0]),
    "metric": _metric,
    "published": lambda values, *_: Cell(percent(values[0]), values[0], "muted"),
    "minutes": lambda values, *_: Cell(f"{values[0]:.2f} min", values[0], "muted"),
    "count": lambda values, *_: Cell(f"{values[0]:,}", float(values[0])),
    "seconds": _seconds,
    "bytes": lambda values, *_: Cell(size_text(values[0]), float(values[0])),
}
