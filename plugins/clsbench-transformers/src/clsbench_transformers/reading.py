"""Read labelled texts with the library datasets."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

import clsbench
from clsbench import UsageError
from clsbench.data import NotATimeError, read_times
from clsbench_transformers.dataset import ENDINGS, label_columns
from clsbench_transformers.label_sets import label_names, label_sets, label_values

_UNLABELLED = -1
"""The label of rows without one, by the convention of datasets."""


def read_corpus(
    named: str,
    places: Sequence[tuple[str | None, Path]],
    text: str,
    label: str,
    group: str | None = None,
    time: str | None = None,
    text_pair: str | None = None,
    labels: str | None = None,
) -> clsbench.Corpus:
    """The texts and labels of all ``places``, each with its split; ``named`` is for errors.

    ``group``, ``time`` and ``text_pair`` are columns that are read too, if given. ``labels``, for
    any number of labels per text, replaces ``label``.

    Raises:
        UsageError: a file or column is missing or not valid.
    """
    texts: list[str] = []
    values: list[Any] = []
    splits: list[str | None] = []
    names: list[str] | None = None
    further: dict[str, list[str]] = {
        column: [] for column in (group, time, text_pair) if column is not None
    }
    with tempfile.TemporaryDirectory(prefix="clsbench-datasets-") as cache, _quiet():
        for split, place in places:
            table = _table(named, place, Path(cache))
            classes = [label] if labels is None else label_columns(labels)
            for column in (text, *classes, *further):
                if column not in table.column_names:
                    raise UsageError(
                        f"dataset hf-dataset, {named}: {place.name} has no column {column!r}; its "
                        f"columns: {', '.join(table.column_names)}"
                    )
            own = _names(table, label) if labels is None else label_names(table, labels)
            if texts and own != names:
                raise UsageError(
                    f"dataset hf-dataset, {named}: {place.name} names other classes than the file "
                    "before it"
                )
            names = own
            if labels is None:
                found = table[label][:]
            else:
                found = label_values(f"dataset hf-dataset, {named}: {place.name}", table, labels)
            if own is None and found and all(value == _UNLABELLED for value in found):
                raise UsageError(
                    f"dataset hf-dataset, {named}: every row of {place.name} has the label -1, by "
                    "convention one without a label; leave this file out (name the others, or move "
                    "it away)"
                )
            others = [table[column][:] for column in further]
            rows = zip(table[text][:], found, *others, strict=True)
            for number, (one, value, *more) in enumerate(rows):
                if value == _UNLABELLED and names is not None:
                    continue
                if not isinstance(one, str) or not one.strip() or value is None:
                    raise UsageError(
                        f"dataset hf-dataset, {named}: row {number} of {place.name} (counted from "
                        f"0) has no text in {text!r} or no label in {label!r}"
                    )
                if split is None and any(each is not None for each, _ in places):
                    raise UsageError(
                        f"dataset hf-dataset, {named}: {place.name} belongs to no split, unlike "
                        "other files; expected names that begin with train, validation or test"
                    )
                texts.append(one)
                values.append(value)
                splits.append(split)
                for column, each in zip(further, more, strict=True):
                    is_text = column != text_pair or isinstance(each, str)
                    if each is None or not str(each).strip() or not is_text:
                        what = "value" if column != text_pair else "text"
                        raise UsageError(
                            f"dataset hf-dataset, {named}: row {number} of {place.name} (counted "
                            f"from 0) has no {what} in {column!r}"
                        )
                    further[column].append(str(each))
    indices: Sequence[Any]
    if labels is None:
        class_names, indices = _classes(named, values, names, label)
    else:
        class_names, indices = label_sets(f"dataset hf-dataset, {named}", values, names, labels)
    known = [split for split in splits if split is not None]
    return clsbench.Corpus(
        class_names=class_names,
        texts=texts,
        labels=indices,
        text_pairs=further[text_pair] if text_pair is not None else None,
        splits=known if known else None,
        groups=further[group] if group is not None else None,
        times=_times(named, further[time], time) if time is not None else None,
        multi_label=labels is not None,
    )


def _names(table: Any, label: str) -> list[str] | None:
    """The names of a column's classes in their order, if it has them."""
    feature = table.features[label]
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def _times(named: str, values: Sequence[str], column: str) -> list[float]:
    try:
        return read_times(values)
    except NotATimeError as error:
        raise UsageError(
            f"dataset hf-dataset, {named}: {values[error.place][:60]!r} in {column!r} is not a "
            "time; expected dates (ISO 8601), or numbers in all rows"
        ) from None


def _table(named: str, place: Path, cache: Path) -> Any:
    try:
        if place.is_dir():
            return datasets.load_from_disk(str(place), keep_in_memory=True)
        kind = ENDINGS[place.suffix]
        if kind == "arrow":
            return datasets.Dataset.from_file(str(place), in_memory=True)
        found = datasets.load_dataset(
            kind, data_files=str(place), split="train", cache_dir=str(cache), keep_in_memory=True
        )
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UsageError(
            f"dataset hf-dataset, {named}: {place.name} cannot be read: {reason}"
        ) from error
    return found


def _classes(
    named: str, values: Sequence[Any], names: Sequence[str] | None, column: str
) -> tuple[tuple[str, ...], list[int]]:
    """The names of the classes, and the index of each value's class.

    Raises:
        UsageError: a value is not a label, or there are fewer than two classes.
    """
    unusable = next((v for v in values if isinstance(v, bytes | float | list | dict)), None)
    if unusable is not None:
        raise UsageError(
            f"dataset hf-dataset, {named}: {column!r} holds {type(unusable).__name__} values; "
            "expected one class for each text, as text or whole number (for any number of labels "
            "per text, name the column of lists with labels=)"
        )
    found = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if names is not None:
        return tuple(names), [int(value) for value in values]
    if len(found) < 2:
        raise UsageError(
            f"dataset hf-dataset, {named}: every row has the same label in {column!r}; a "
            "classifier requires at least two classes"
        )
    index = {value: place for place, value in enumerate(found)}
    return tuple(map(str, found)), [index[value] for value in values]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep datasets from drawing progress bars."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()
