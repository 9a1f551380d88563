"""The data set ``csv``: labelled texts in a file of the user."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

import clsbench
from clsbench.builtin.datasets.label_columns import PLUS, read_label_sets
from clsbench.data import (
    GroupColumn,
    NotATimeError,
    Table,
    TableFormat,
    TextPairColumn,
    TimeColumn,
    read_table,
    read_times,
    split_named,
)
from clsbench.errors import closest_match_hint

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
LINES_SHOWN = 8
COLUMNS = ("text", "text_pair", "label", "split", "group", "time")
"""The options that name columns."""


class DelimitedFile(clsbench.Dataset, frozen=True):
    """Your own labelled texts in a CSV, TSV or JSON Lines file; two classes or more.

    The first line of a CSV or TSV file names the columns. Labels are words or numbers: classes
    stand in numeric order, else in alphabetical order, where numbers within words count as numbers
    (``2 stars`` before ``10 stars``). Paths are relative to the working directory; ``~`` is your
    home directory. Texts of one user in training and test, or texts of one time, may make a
    classifier look better than it is on new users and later texts: ``group`` and ``time`` name the
    columns that keep them apart.
    """

    path: Annotated[str, Meta(min_length=1, description="path of the file")] | None = None
    train: (
        Annotated[
            str, Meta(min_length=1, description="instead of path: file with the training texts")
        ]
        | None
    ) = None
    validation: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="file with the validation texts (default: taken from train)",
            ),
        ]
        | None
    ) = None
    test: (
        Annotated[str, Meta(min_length=1, description="with train: file with the test texts")]
        | None
    ) = None
    text: Annotated[str, Meta(min_length=1, description="column with the texts")] = "text"
    text_pair: TextPairColumn | None = None
    label: Annotated[str, Meta(min_length=1, description="column with the classes")] = "label"
    labels: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="instead of label, for any number of labels per text: column with a"
                " list of labels, or several columns with 0 or 1 (toxic+rude+spam)",
            ),
        ]
        | None
    ) = None
    separator: (
        Annotated[
            str,
            Meta(min_length=1, description="what divides the labels in a list (default: |)"),
        ]
        | None
    ) = None
    split: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="column with train, validation or test for each row, for"
                " data.split=predefined (default: no column)",
            ),
        ]
        | None
    ) = None
    group: GroupColumn | None = None
    time: TimeColumn | None = None
    format: (
        Annotated[
            Literal["csv", "tsv", "jsonl"],
            Meta(description="format of the file (default: from its extension)"),
        ]
        | None
    ) = None
    delimiter: (
        Annotated[
            str,
            Meta(
                pattern=r'^[^"\r\n\x00]$',
                description="column separator (default: a comma; a tab in TSV)",
            ),
        ]
        | None
    ) = None
    quoting: Annotated[
        Literal["default", "none"],
        Meta(description="default: double quotes enclose a field; none: quotes are ordinary text"),
    ] = "default"
    encoding: Annotated[
        str,
        Meta(
            min_length=1,
            description="character encoding, such as utf-16 or latin-1; a byte order mark is"
            " skipped",
        ),
    ] = "utf-8"

    def __post_init__(self) -> None:
        """Check that the options belong together.

        Raises:
            ValueError: they do not.
        """
        if self.path is None and (self.train is None or self.test is None):
            raise ValueError("path is required, or both train and test instead of it")
        further = [name for name in ("train", "validation", "test") if getattr(self, name)]
        if self.path is not None and further:
            raise ValueError(f"path and {further[0]} exclude each other; give path, or train and "
                             "test")  # fmt: skip
        if self.path is None and self.split is not None:
            raise ValueError("split names a column of path; with train and test, leave it out")
        if self.labels is not None and self.label != "label":
            raise ValueError("label and labels exclude each other; labels is for any number of "
                             "labels per text")  # fmt: skip
        if self.separator is not None and (self.labels is None or PLUS in self.labels):
            raise ValueError("separator requires labels, the name of one column with lists")

    def task(self) -> clsbench.Task:
        """``multi-label`` if ``labels`` is set."""
        return "single-label" if self.labels is None else "multi-label"

    def default_split(self) -> clsbench.SplitName:
        """``predefined`` if files or a column give the splits, else by ``group`` or ``time`` if
        their column is named."""
        if self.path is None or self.split is not None:
            return "predefined"
        if self.group is not None:
            return "group"
        return "time" if self.time is not None else "stratified"

    def user_files(self) -> tuple[Path, ...]:
        """The file itself, or those of the splits."""
        return tuple(path for _, path in self._places())

    def _places(self) -> list[tuple[str | None, Path]]:
        """Each file with its split; ``None`` for a file with all splits."""
        files = ((None, self.path), ("train", self.train), ("validation", self.validation),
                 ("test", self.test))  # fmt: skip
        return [(name, Path(os.path.expanduser(file))) for name, file in files if file is not None]

    def table_format(self) -> TableFormat:
        """The format in which this file is read."""
        return TableFormat(
            format=self.format,
            delimiter=self.delimiter,
            quoting=self.quoting,
            encoding=self.encoding,
            text=self.text,
            text_pair=self.text_pair,
        )

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read and check the whole file.

        Raises:
            UsageError: the file is invalid; the message names the file and the line, if any.
        """
        wanted = [name for name in COLUMNS if name != "label" or self.labels is None]
        options = {name: column for name in (*wanted, "labels")
                   if (column := getattr(self, name)) is not None}  # fmt: skip
        if len(set(options.values())) < len(options):
            raise clsbench.UsageError(
                f"dataset 'csv': {', '.join(options)} name the columns "
                f"{', '.join(options.values())}; they must be different"
            )
        places = self._places()
        tables = [self._table(path) for _, path in places]
        texts = [text for table in tables for text in _texts(table)]
        class_names, labels = self._labels(tables)
        splits = None
        if self.split is not None:
            splits = _splits(tables[0], self.split)
        elif self.path is None:
            splits = [name for (name, _), table in zip(places, tables, strict=True) if name
                      for _ in table.rows]  # fmt: skip
        return clsbench.Corpus(
            class_names=class_names,
            texts=texts,
            labels=labels,
            text_pairs=_text_pairs(tables) if self.text_pair is not None else None,
            splits=splits,
            groups=_groups(tables, self.group) if self.group is not None else None,
            times=_times(tables, self.time) if self.time is not None else None,
            multi_label=self.labels is not None,
        )

    def _labels(self, tables: Sequence[Table]) -> tuple[tuple[str, ...], Sequence[Any]]:
        """The names of the classes in their order, and the label of each row."""
        if self.labels is None:
            return _classes(tables, self.label)
        found = read_label_sets(tables, self.labels, self.separator or "|")
        names = found.names
        if PLUS not in self.labels:
            names = sorted(names, key=_natural_order)
        place = {name: number for number, name in enumerate(names)}
        return tuple(names), [tuple(sorted(place[n] for n in row)) for row in found.of_rows]

    def _table(self, path: Path) -> Table:
        if path.is_fifo():  # the file is read again for reports and predictions
            raise clsbench.UsageError(
                f"{path} is a pipe; expected a regular file of labelled texts"
            )
        table = read_table(path, self.table_format())
        if not table.rows:
            raise clsbench.UsageError(f"{path} has no rows")
        return table


# --- the rows ----------------------------------------------------------------------------------


def _refuse_blanks(table: Table, values: Sequence[str], what: str) -> None:
    rows = zip(table.rows, values, strict=True)
    lines = [row.line for row, value in rows if not value.strip()]
    if lines:
        shown = ", ".join(map(str, lines[:LINES_SHOWN])) + (" …" if lines[LINES_SHOWN:] else "")
        raise clsbench.UsageError(
            f"{table.source}: {len(lines)} {'rows' if lines[1:] else 'row'} {what} "
            f"({'lines' if lines[1:] else 'line'} {shown}); fill in or remove them"
        )


def _texts(table: Table) -> list[str]:
    texts = table.texts()
    _refuse_blanks(table, texts, f"with an empty text in {table.format.text!r}")
    return texts


def _text_pairs(tables: Sequence[Table]) -> list[str]:
    pairs: list[str] = []
    for table in tables:
        texts = table.text_pairs() or []
        _refuse_blanks(table, texts, f"with an empty text in {table.format.text_pair!r}")
        pairs += texts
    return pairs


def _groups(tables: Sequence[Table], column: str) -> list[str]:
    groups = []
    for table in tables:
        values = [value.strip() for value in table.values(column, "group")]
        _refuse_blanks(table, values, f"without a group in {column!r}")
        groups += values
    return groups


def _times(tables: Sequence[Table], column: str) -> list[float]:
    values = []
    for table in tables:
        values += [value.strip() for value in table.values(column, "time")]
        _refuse_blanks(table, values[-len(table.rows) :], f"without a time in {column!r}")
    try:
        return read_times(values)
    except NotATimeError as error:
        rows = [(table, row) for table in tables for row in table.rows]
        table, row = rows[error.place]
        raise clsbench.UsageError(
            f"{table.source}, line {row.line}: {values[error.place][:60]!r} in {column!r} is not a "
            "time; expected a date such as 2025-11-21 or 2025-11-21T10:17:29 (ISO 8601), or "
            "numbers in all rows"
        ) from None


def _classes(tables: Sequence[Table], column: str) -> tuple[tuple[str, ...], list[int]]:
    """The names of the classes in their order, and the index of each row's class."""
    path = ", ".join(table.source for table in tables)
    words: list[str] = []
    first_lines: dict[str, str] = {}
    for table in tables:
        own = [value.strip() for value in table.values(column, "label")]
        _refuse_blanks(table, own, f"without a label in {column!r}")
        for row, word in zip(table.rows, own, strict=True):
            source = "" if len(tables) == 1 else f"{table.source}, "
            first_lines.setdefault(word, f"{source}line {row.line}")
        words += own
    if all(NUMBER.fullmatch(word) for word in first_lines):
        names = sorted(first_lines, key=Decimal)
        for one, other in itertools.pairwise(names):
            if Decimal(one) == Decimal(other):
                raise clsbench.UsageError(
                    f"{path}: the labels {one!r} ({first_lines[one]}) and {other!r} "
                    f"({first_lines[other]}) are the same number; write it in one way"
                )
    else:
        names = sorted(first_lines, key=_natural_order)
    if len(names) < 2:
        raise clsbench.UsageError(
            f"{path}: every row has the label {names[0]!r} in {column!r}; a classifier requires at "
            "least two classes"
        )
    if len(names) == len(words) > 2:
        raise clsbench.UsageError(
            f"{path}: every row has a different label in {column!r}; is it the class column?"
        )
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), [index[word] for word in words]


def _natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that compares numbers within words by value: ``2 stars`` before ``10 stars``."""
    parts = re.split("([0-9]+)", name)
    numbers = (part.lstrip("0") for part in parts[1::2])  # possibly of thousands of digits
    key = [(0, part) for part in parts]
    key[1::2] = [(len(digits), digits) for digits in numbers]
    return key, name


def _splits(table: Table, column: str) -> list[str]:
    splits = []
    for row, value in zip(table.rows, table.values(column, "split"), strict=True):
        name = split_named(value)
        if name is None:
            hint = closest_match_hint(value, ("train", "validation", "test"))
            raise clsbench.UsageError(
                f"{table.source}, line {row.line}: {value!r} in {column!r} is not a split{hint}"
            )
        splits.append(name)
    return splits


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """The user's own file."""
    return {"csv": DelimitedFile}
