"""The terminal's table of a suite's rows or of compared runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from clsbench.analysis.figures import ShownMetrics
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_columns import Column, columns
from clsbench.report.cells import cell_of
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.wording import plain


def rows_table(
    name: str,
    groups: Sequence[Sequence[tuple[Text, RowFigures]]],
    metrics: ShownMetrics,
    width: int,
    see: str,
    reference: str | None = None,
) -> RenderableType:
    """A table of rows, baselines or contenders, each with its label.

    ``reference`` is the label of the row that the others are compared with.
    """
    shown = [column for column in columns(metrics) if column.drop is not None]
    headers = {column: column.header.format(first=reference) for column in shown}
    optional = sorted((column for column in shown if column.drop), key=lambda c: c.drop or 0)
    rows = [
        [Row(label, [_cell(column, row) for column in shown]) for label, row in group]
        for group in groups
    ]
    left_out = [headers[column] for column in optional]
    return fitting_table(name, [*headers.values()], rows, width, left_out, see)


def _cell(column: Column, row: RowFigures) -> Text:
    if column.form == "difference" and row.row.same_as is not None:
        return plain(f"= row {row.row.same_as}")
    cell = cell_of(column, row)
    styles = {"better": "green", "worse": "red", "state": "yellow"}
    return Text(cell.text, styles.get(cell.kind, ""))
