"""Read any number of labels per text from tables of the library datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets

from clsbench import UsageError
from clsbench_transformers.dataset import label_columns

_BAR = "|"


def label_names(table: Any, labels: str) -> list[str] | None:
    """The classes in the order of their indices; ``None`` if the values themselves are the classes.

    Columns of zeros and ones are classes themselves; a list of ``ClassLabel`` names them.
    """
    columns = label_columns(labels)
    if len(columns) > 1:
        return columns
    feature = table.features[columns[0]]
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return list(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def label_values(where: str, table: Any, labels: str) -> list[list[Any]]:
    """The values of each row's labels: indices of the names, or the classes themselves.

    Raises:
        UsageError: a row has no list, or a value that is not 0 or 1; ``where`` names the file.
    """
    columns = label_columns(labels)
    if len(columns) == 1:
        for number, found in enumerate(lists := table[columns[0]][:]):
            if not isinstance(found, list) or not all(isinstance(v, str | int) for v in found):
                raise UsageError(
                    f"{where}: row {number} (counted from 0) has {str(found)[:60]!r} in "
                    f"{columns[0]!r}, expected a list of texts or whole numbers"
                )
            if len(set(found)) < len(found):
                raise UsageError(
                    f"{where}: row {number} (counted from 0) has the same label twice in "
                    f"{columns[0]!r}: {str(found)[:60]}"
                )
        return list(lists)
    values = []
    for number, marks in enumerate(zip(*(table[column][:] for column in columns), strict=True)):
        for column, mark in zip(columns, marks, strict=True):
            if isinstance(mark, str) or mark not in (0, 1):
                raise UsageError(
                    f"{where}: row {number} (counted from 0) has {str(mark)[:60]!r} in {column!r}, "
                    "expected 0 or 1 in each of several columns of labels"
                )
        values.append([place for place, mark in enumerate(marks) if mark])
    return values


def label_sets(
    where: str, values: Sequence[Sequence[Any]], names: Sequence[str] | None, labels: str
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """The names of the classes, and the ascending indices of each row's classes.

    Raises:
        UsageError: a value is not a class, or there are fewer than two classes.
    """
    distinct = {value for row in values for value in row}
    if names is None:
        found = sorted(distinct, key=lambda value: (isinstance(value, str), value))
        names = [str(value).strip() for value in found]
        places = {value: place for place, value in enumerate(found)}
    else:
        places = {place: place for place in range(len(names))}
    if strange := distinct - places.keys():
        raise UsageError(
            f"{where}: {min(strange)} in {labels!r} is not the index of one of its {len(names)} "
            "classes"
        )
    if len(distinct) < 2:
        raise UsageError(
            f"{where}: the texts have fewer than two different labels in {labels!r}; multi-label "
            "classification requires two. For one class per text, name its column with label="
        )
    for name in names:
        if not name or _BAR in name or names.count(name) > 1:
            raise UsageError(
                f"{where}: the label {name!r} in {labels!r} is empty, occurs twice, or contains "
                f"{_BAR!r}, which divides the labels of a text in predictions; rename it"
            )
    return tuple(names), [tuple(sorted(places[value] for value in row)) for row in values]
