"""The table of rows and baselines on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from clsbench.analysis.figures import MetricInfo
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_columns import Column
from clsbench.analysis.suite_columns import columns as all_columns
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.suite_table import HAVING_RUNS
from clsbench.report.cells import Cell, cell_of
from clsbench.report.page.scales import readable_floor
from clsbench.report.wording import metric_tick


class Heading(NamedTuple):
    """A column: its name, its meaning, whether it is in the second table (``further``), whether
    lower values are better, and whether its cells show an interval.

    The first table fits a window of 1,440 pixels, and both fit a printed page.
    """

    text: str
    meaning: str
    further: bool
    lower: bool
    interval: bool


class Whisker(NamedTuple):
    """The primary metric with its interval, drawn in a strip of 100 units."""

    low: float
    at: float
    high: float


class TableRow(NamedTuple):
    """A row or a baseline; ``tied``: not significantly different from the best row."""

    label: str
    title: str
    marks: tuple[str, ...]
    baseline: bool
    tied: bool
    whisker: Whisker | None
    cells: tuple[Cell, ...]


class PageTable(NamedTuple):
    """The table; ``line`` is the position of the best baseline in the strips of the intervals,
    and ``axis`` holds the ends of the strips."""

    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    line: float | None
    axis: tuple[str, str]
    stand_ins: str


def page_table(figures: SuiteFigures, tied: frozenset[str]) -> PageTable:
    """The table without empty columns; ``tied`` are the labels of rows tied with the best."""
    rows = [*figures.rows, *figures.baselines]
    metric = figures.metrics.primary
    low, high = _limits(rows, metric)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 1)

    columns: dict[str, Column] = {}
    for column in all_columns(figures.metrics):
        name = _filled(column.header, figures)
        if column.page and any(cell_of(column, row).value is not None for row in rows):
            columns.setdefault(name, column)  # the first row may also be the best
    all_stand_in = all(
        row.record.stand_ins for row in figures.rows if row.record is not None
    )  # fmt: skip
    found = []
    for row in rows:
        whisker = None
        if row.interval is not None:
            ends = (row.interval[0], row.score, row.interval[1])
            whisker = Whisker(*map(place, ends))
        found.append(
            TableRow(
                label=row.label,
                title=row.title,
                marks=_marks(row, all_stand_in),
                baseline=row.baseline,
                tied=bool(row.label) and row.label in tied,
                whisker=whisker,
                cells=tuple(_on_the_page(column, row) for column in columns.values()),
            )
        )
    return PageTable(
        tuple(
            Heading(
                text=name,
                meaning=_filled(column.meaning, figures),
                further=column.page == "further",
                lower=column.better == "lower",
                interval=column.form == "interval",
            )
            for name, column in columns.items()
        ),
        tuple(found),
        place(best) if (best := _best_baseline(figures)) is not None else None,
        (metric_tick(metric, round(low, 4)), metric_tick(metric, round(high, 4))),
        "All rows use STAND-INS." if all_stand_in else "The marked rows use STAND-INS.",
    )


def _filled(text: str, figures: SuiteFigures) -> str:
    return text.format(first=figures.reference, best=figures.best)


def _on_the_page(column: Column, row: RowFigures) -> Cell:
    cell = cell_of(column, row)
    if column.form in ("difference", "points"):
        return cell._replace(text=cell.text.replace("-", "−"))
    return cell


def _best_baseline(figures: SuiteFigures) -> float | None:
    known = [row.score for row in figures.baselines if math.isfinite(row.score)]
    return min(known, key=figures.metrics.primary.order, default=None)


def _limits(rows: Sequence[RowFigures], metric: MetricInfo) -> tuple[float, float]:
    """The ends of the strips: all intervals except those of rows far worse than the median."""
    known = [(row.score, row.interval) for row in rows if row.interval is not None]
    if not known:
        return 0.0, 1.0
    floor = readable_floor([metric.sign * score for score, _ in known])
    shown = [interval for score, interval in known if metric.sign * score >= floor]
    span = metric.limits[1] - metric.limits[0]
    parts = 20 / span if math.isfinite(span) else 20
    low = math.floor(parts * min(interval[0] for interval in shown)) / parts
    high = math.ceil(parts * max(interval[1] for interval in shown)) / parts
    return low, high if high > low else low + 1 / parts


def _marks(row: RowFigures, all_stand_in: bool) -> tuple[str, ...]:
    marks = []
    stand_ins = row.record is not None and bool(row.record.stand_ins)
    if row.baseline:
        marks.append("baseline")
    if row.row.same_as:
        marks.append(f"= row {row.row.same_as}")
    if stand_ins and not all_stand_in:
        marks.append("stand-ins")
    elif row.row.modified and not stand_ins and row.state in HAVING_RUNS and row.choice is None:
        marks.append("modified")
    if row.choice is not None:
        marks.append("tuned")
    if row.state == "in part":
        marks.append("in part")
    if len(row.runs) > 1:
        marks.append(f"{len(row.runs)} seeds")
    return tuple(marks)
