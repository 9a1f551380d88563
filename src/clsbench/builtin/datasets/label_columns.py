"""Read the labels of texts with any number of labels, for the data set ``csv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import clsbench
from clsbench.data import Table

PLUS = "+"
"""Divides the names of several columns of zeros and ones."""

_ANSWERS = {"0": False, "1": True, "false": False, "true": True}
_BAR = "|"


class LabelSets(NamedTuple):
    """The labels of every row, in the order of the tables."""

    names: list[str]
    of_rows: list[list[str]]


def read_label_sets(tables: Sequence[Table], labels: str, separator: str) -> LabelSets:
    """The labels in one column of lists, or in several columns of zeros and ones.

    ``names`` of several columns are in their order, others in that of their first occurrence.

    Raises:
        UsageError: the labels cannot be used; names the file, and the line if there is one.
    """
    columns = [name.strip() for name in labels.split(PLUS)]
    source = ", ".join(table.source for table in tables)
    if len(columns) > 1:
        _check_columns(source, columns, labels)
        found = [row for table in tables for row in _marked(table, columns)]
    else:
        found = [row for table in tables for row in _listed(table, columns[0], separator)]
    counts = Counter(name for row in found for name in row)
    names = columns if len(columns) > 1 else list(counts)
    unused = [name for name in names if not counts[name]]
    if unused:
        raise clsbench.UsageError(
            f"{source}: no text has the label {unused[0]!r} (its column holds zeros only); leave "
            "it out of labels"
        )
    if len(names) < 2:
        have = f"only the label {names[0]!r}" if names else "no labels at all"
        raise clsbench.UsageError(
            f"{source}: the texts have {have} in {labels!r}; multi-label classification requires "
            "at least two labels. For a yes-or-no question, name its column with label="
        )
    if len(columns) > 1 and all(len(row) == 1 for row in found):
        raise clsbench.UsageError(
            f"{source}: every text has exactly one label in {labels!r}; name a column of classes "
            "with label= instead of labels="
        )
    if len(columns) == 1 and all(len(row) < 2 for row in found):
        raise clsbench.UsageError(
            f"{source}: no text has more than one label in {labels!r}; check the separator (it is "
            f"{separator!r}), or name a column of classes with label= instead of labels="
        )
    for name in names:
        if _BAR in name:
            raise clsbench.UsageError(
                f"{source}: the label {name!r} contains {_BAR!r}, which divides the labels of a "
                "text in predictions; rename it"
            )
    return LabelSets(names, found)


def _check_columns(source: str, columns: Sequence[str], labels: str) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice or not all(columns):
        problem = f"names {twice[0]!r} twice" if all(columns) else "has an empty name"
        raise clsbench.UsageError(f"{source}: labels={labels} {problem}")


def _marked(table: Table, columns: Sequence[str]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in table.rows]
    for column in columns:
        values = table.values(column, "labels")
        for row, value, own in zip(table.rows, values, found, strict=True):
            answer = _ANSWERS.get(value.strip().lower())
            if answer is None:
                raise clsbench.UsageError(
                    f"{table.source}, line {row.line}: {value[:60]!r} in {column!r}; expected 0 or "
                    "1 in each of several columns of labels"
                )
            if answer:
                own.append(column)
    return found


def _listed(table: Table, column: str, separator: str) -> list[list[str]]:
    arrays = [row.cells.get(column) if isinstance(row.cells, Mapping) else None
              for row in table.rows]  # fmt: skip
    if any(isinstance(value, list) for value in arrays):
        written = [_array(table, row.line, value, column)
                   for row, value in zip(table.rows, arrays, strict=True)]  # fmt: skip
    else:
        texts = table.values(column, "labels")
        _refuse_literals(table, texts, column, separator)
        written = [text.split(separator) if text.strip() else [] for text in texts]
    found = []
    for row, parts in zip(table.rows, written, strict=True):
        own = [part.strip() for part in parts]
        if "" in own or len(set(own)) < len(own):
            problem = "an empty label" if "" in own else "the same label twice"
            raise clsbench.UsageError(
                f"{table.source}, line {row.line}: {problem} in {column!r}: "
                f"{separator.join(parts)[:60]!r}; expected different labels, divided by "
                f"{separator!r}"
            )
        found.append(own)
    return found


def _refuse_literals(table: Table, texts: Sequence[str], column: str, separator: str) -> None:
    """Refuse lists as Python and JSON write them, whose brackets and quotes would become labels."""
    for row, text in zip(table.rows, texts, strict=True):
        plain = text.strip()
        if plain == "[]" or (plain.startswith(("['", '["')) and plain.endswith("]")):
            raise clsbench.UsageError(
                f"{table.source}, line {row.line}: {plain[:60]!r} in {column!r} is a list as "
                f"Python or JSON writes it; expected labels divided by {separator!r}, or arrays in "
                "a JSON Lines file"
            )


def _array(table: Table, line: int, value: Any, column: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise clsbench.UsageError(
            f"{table.source}, line {line}: {column!r} holds {str(value)[:60]}, expected an array "
            "of texts in every row"
        )
    return value
