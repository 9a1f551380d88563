"""Format the table of runs: rounded for display, exact as CSV and JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from clsbench.results.csvtext import csv_line
from clsbench.schema.decoding import json_text
from clsbench.system.printable import printable

_GAP = 2
_EDGE = 1
_WIDEST_TEXT = 18
"""Longer text is wrapped first if a line is too long."""
_NARROWEST_TEXT = 12
_NARROWEST_RUN = 17
"""The length of the time stamp, with which the name of a run begins."""

MARK = "*"
"""Marks a run with stand-ins in narrow tables, in place of their names."""


def marked(table: pd.DataFrame) -> pd.DataFrame:
    """The table with :data:`MARK` in place of the names of stand-ins."""
    if "stand_ins" not in table:
        return table
    marks = [MARK if names else "" for names in table["stand_ins"]]
    return table.assign(stand_ins=marks).rename(columns={"stand_ins": MARK})


def column_widths(table: pd.DataFrame, width: int) -> list[int] | None:
    """The widths of the columns in lines of ``width`` characters; ``None`` if they do not fit.

    Numbers are never wrapped. If the table is too wide, texts are wrapped first, then the names of
    runs.
    """
    columns = _columns(table)
    widths = [column.longest for column in columns]
    for targets in ([c.comfortable for c in columns], [c.shortened_run for c in columns]):
        widths = _narrowed(widths, targets, _line(widths) - width)
    widths = _narrowed(widths, [c.least for c in columns], _line(widths) - width)
    return widths if _line(widths) <= width else None


def line_width(table: pd.DataFrame, narrow: bool = False) -> int:
    """The width in characters of a table in which long text is wrapped.

    With ``narrow``, the columns are as narrow as :func:`column_widths` makes them.
    """
    columns = _columns(table)
    return _line(column.least if narrow else column.comfortable for column in columns)


def _columns(table: pd.DataFrame) -> list[_Column]:
    return [_Column(table, str(name)) for name in table.columns]


def _narrowed(widths: Sequence[int], targets: Sequence[int], excess: int) -> list[int]:
    """Reduce the widths in order, each at most to its target, until ``excess`` is removed."""
    narrowed = []
    for wide, target in zip(widths, targets, strict=True):
        cut = min(max(wide - target, 0), max(excess, 0))
        narrowed.append(wide - cut)
        excess -= cut
    return narrowed


def _line(widths: Iterable[int]) -> int:
    """The length of a line with columns of these widths, in characters."""
    return _EDGE + sum(width + _GAP for width in widths)


class _Column:
    """The possible widths of a column, in characters."""

    def __init__(self, table: pd.DataFrame, name: str) -> None:
        header = max(len(part) for part in header_lines(name))
        cell = max((len(format_cell(name, value)) for value in table[name]), default=0)
        self.longest = max(header, cell)
        self.comfortable = self.shortened_run = self.least = self.longest
        if name == "run":
            self.shortened_run = self.least = max(header, min(cell, _NARROWEST_RUN))
        elif not is_numeric(table, name):
            self.comfortable = self.shortened_run = max(header, min(cell, _WIDEST_TEXT))
            self.least = max(header, min(cell, _NARROWEST_TEXT))


def header_lines(name: str) -> list[str]:
    """A column's name split into lines after underscores."""
    lines = [""]
    for part in re.findall(r"[^_]*_|[^_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > _HEADER_LINE:
            lines.append("")
        lines[-1] += part
    return lines


_HEADER_LINE = 10


def format_cell(name: str, value: Any) -> str:
    """Format a value for display: fractions and losses with four decimals, missing as a dash."""
    if value is None or value is pd.NA:
        return "-"
    if isinstance(value, str):
        return value
    if pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if pd.api.types.is_integer(value):
        return f"{int(value):,}" if abs(int(value)) >= 10_000 and name != "seed" else str(value)
    number = float(value)
    if math.isnan(number):
        return "-"
    if name.endswith(("_seconds", "_per_second")):
        return f"{number:,.1f}" if number >= 10 else f"{number:.3g}"
    if name in ("lr", "weight_decay", "layer_decay", "gradient_clipping"):
        return f"{number:g}"
    return f"{number:.4f}"


def cells(table: pd.DataFrame) -> list[list[str]]:
    """All rows, formatted for display."""
    columns = [[format_cell(str(name), v) for v in table[name]] for name in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def is_numeric(table: pd.DataFrame, name: str) -> bool:
    """Whether a column holds numbers, which are right-aligned."""
    dtype = table[name].dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def to_csv(table: pd.DataFrame, guard_formulas: bool = False) -> str:
    """Comma-separated values with a header; numbers in full precision, missing values empty.

    ``guard_formulas`` prevents spreadsheets from evaluating text as a formula.
    """
    rows = [("" if v is None else str(v) for v in row) for row in _values(table)]
    return "".join(csv_line(row, guard_formulas) for row in (map(str, table.columns), *rows))


def to_json(table: pd.DataFrame) -> str:
    """A JSON array with one object per run; numbers in full precision, missing values ``null``."""
    names = [str(name) for name in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in _values(table)]
    return json_text(rows)


def _values(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """All rows as Python objects, missing values as ``None``."""
    columns = [
        [None if pd.isna(value) else value for value in table[name].tolist()]
        for name in table.columns
    ]
    return list(zip(*columns, strict=True))


def to_markdown(table: pd.DataFrame) -> str:
    """A table in GitHub's Markdown."""
    names = [str(name) for name in table.columns]
    rows = [[markdown_text(cell) for cell in row] for row in cells(table)]
    widths = [max([len(name), 3, *(len(row[i]) for row in rows)]) for i, name in enumerate(names)]
    right = [is_numeric(table, name) for name in names]
    rules = [
        "-" * (width - 1) + (":" if flush else "-")
        for width, flush in zip(widths, right, strict=True)
    ]

    def line(parts: list[str]) -> str:
        padded = [
            part.rjust(width) if flush else part.ljust(width)
            for part, width, flush in zip(parts, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |\n"

    return "".join(line(parts) for parts in (names, rules, *rows))


def to_latex(table: pd.DataFrame) -> str:
    """A LaTeX ``tabular`` with booktabs rules."""
    names = [str(name) for name in table.columns]
    alignment = "".join("r" if is_numeric(table, name) else "l" for name in names)
    escaped = pd.DataFrame(
        [map(_latex_text, row) for row in cells(table)], columns=[*map(_latex_text, names)]
    )
    text = escaped.to_latex(index=False, escape=False, column_format=alignment)
    return "% needs \\usepackage{booktabs}\n" + text


def markdown_text(text: str) -> str:
    """Text escaped for Markdown, on one line."""
    text = printable(" ".join(text.split()))
    for special in "\\`*_|<[]!&~#":
        text = text.replace(special, "\\" + special)
    return text


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # at the start of a row it would begin an option
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{special: "\\" + special for special in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    text = printable(" ".join(text.split()))
    return "".join(_LATEX.get(letter, letter) for letter in text)
