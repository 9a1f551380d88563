"""The table of runs as text: for people rounded, for machines exactly as stored."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import pandas as pd

from clsbench.results.csvtext import csv_line

LONGEST_LINE = 120
"""The width that the default columns keep to where none is known, in characters."""

_GAP = 2
_WIDEST_TEXT = 18
"""Longer texts fold in a table, so that they need no more room than this."""

_ALWAYS = ("run", "test_accuracy", "test_accuracy_low", "test_accuracy_high")
_TELLING = {"stand_ins": "", "status": "finished"}
"""What says how far a run can be trusted is shown wherever it is not this."""

_AS_ROOM_ALLOWS = (
    *("experiment", "freezing", "backbone", "pooling", "head", "adapter", "dataset", "seed"),
    *("total_seconds", "trainable_parameters"),
    *("split", "padding", "balance", "epochs", "lr", "batch_size", "weight_decay"),
    *("accumulation", "precision", "device", "threads", "modified"),
)
"""By importance; those that are the same for all runs are passed over, unless they are costs."""

_COSTS = ("total_seconds", "trainable_parameters")


def default_columns(table: pd.DataFrame, width: int = LONGEST_LINE) -> list[str]:
    """The columns to show where none are asked for, in the table's order.

    The test accuracy with its interval always; then the settings that differ between the runs,
    and the costs, as many as a line of ``width`` characters holds.
    """
    chosen = [*_ALWAYS]
    chosen += [name for name, usual in _TELLING.items() if (table[name] != usual).any()]
    room = width - sum(_width(table, name) + _GAP for name in chosen)
    for name in _AS_ROOM_ALLOWS:
        needed = _width(table, name) + _GAP
        if needed <= room and (name in _COSTS or table[name].nunique(dropna=False) > 1):
            chosen.append(name)
            room -= needed
    return [str(name) for name in table.columns if name in chosen]


def header_lines(name: str) -> list[str]:
    """A column's name in lines, each but the last ending with an underscore."""
    lines = [""]
    for part in re.findall(r"[^_]*_|[^_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > _HEADER_LINE:
            lines.append("")
        lines[-1] += part
    return lines


_HEADER_LINE = 10


def format_cell(name: str, value: Any) -> str:
    """One value for people: fractions and losses to four places, missing ones as a dash."""
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
        return f"{number:,.1f}"
    if name in ("lr", "weight_decay"):
        return f"{number:g}"
    return f"{number:.4f}"


def cells(table: pd.DataFrame) -> list[list[str]]:
    """Every row as text for people."""
    columns = [[format_cell(str(name), v) for v in table[name]] for name in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def is_numeric(table: pd.DataFrame, name: str) -> bool:
    """Whether a column holds numbers, which are set flush right."""
    dtype = table[name].dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def to_csv(table: pd.DataFrame) -> str:
    """Comma-separated values with a header; numbers in full, missing ones empty."""
    lines = [csv_line(map(str, table.columns))]
    lines += [csv_line("" if v is None else str(v) for v in row) for row in _values(table)]
    return "".join(lines)


def to_json(table: pd.DataFrame) -> str:
    """An array with one object a run; numbers in full, missing ones ``null``."""
    names = [str(name) for name in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in _values(table)]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"


def _values(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Every row as Python's own values, missing ones as ``None``."""
    columns = [
        [None if pd.isna(value) else value for value in table[name].tolist()]
        for name in table.columns
    ]
    return list(zip(*columns, strict=True))


def to_markdown(table: pd.DataFrame) -> str:
    """A table as GitHub renders it."""
    names = [str(name) for name in table.columns]
    rows = [[_markdown_text(cell) for cell in row] for row in cells(table)]
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
    """A ``tabular`` with the rules of the package booktabs."""
    names = [str(name) for name in table.columns]
    alignment = "".join("r" if is_numeric(table, name) else "l" for name in names)

    def line(parts: list[str]) -> str:
        return " & ".join(map(_latex_text, parts)) + r" \\" + "\n"

    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{alignment}}}\n\\toprule\n"
        + line(names)
        + "\\midrule\n"
        + "".join(line(row) for row in cells(table))
        + "\\bottomrule\n\\end{tabular}\n"
    )


def folded_width(table: pd.DataFrame) -> int:
    """The characters that a line of the table needs when long texts are folded."""
    return sum(_width(table, str(name)) + _GAP for name in table.columns)


def _width(table: pd.DataFrame, name: str) -> int:
    longest = max((len(format_cell(name, value)) for value in table[name]), default=0)
    if name != "run" and not is_numeric(table, name):
        longest = min(longest, _WIDEST_TEXT)
    return max(longest, *(len(part) for part in header_lines(name)))


def _markdown_text(text: str) -> str:
    for special in "\\`*_|<":
        text = text.replace(special, "\\" + special)
    return " ".join(text.split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{special: "\\" + special for special in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    return " ".join("".join(_LATEX.get(letter, letter) for letter in text).split())
