"""The data set ``csv``: labelled texts in a file of the user."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

import clsbench
from clsbench.data import Table, TableFormat, read_table, split_named
from clsbench.errors import closest_match_hint

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
LINES_SHOWN = 8


class DelimitedFile(clsbench.Dataset, frozen=True):
    """Your own labelled texts in a CSV, TSV or JSON Lines file; two classes or more.

    The first line of a CSV or TSV file names the columns. Labels are words or numbers: classes
    stand in numeric order, else in alphabetical order, where numbers within words count as numbers
    (``2 stars`` before ``10 stars``). ``path`` is relative to the working directory; ``~`` is your
    home directory.
    """

    path: Annotated[str, Meta(min_length=1, description="path of the file")]
    text: Annotated[str, Meta(min_length=1, description="column with the texts")] = "text"
    label: Annotated[str, Meta(min_length=1, description="column with the classes")] = "label"
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

    def default_split(self) -> clsbench.SplitName:
        """``predefined`` if a column names the splits."""
        return "stratified" if self.split is None else "predefined"

    def user_files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (Path(os.path.expanduser(self.path)),)

    def table_format(self) -> TableFormat:
        """The format in which this file is read."""
        return TableFormat(
            format=self.format,
            delimiter=self.delimiter,
            quoting=self.quoting,
            encoding=self.encoding,
            text=self.text,
        )

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read and check the whole file.

        Raises:
            UsageError: the file is invalid; the message names the file and the line, if any.
        """
        (path,) = self.user_files()
        columns = [self.text, self.label, *([self.split] if self.split else [])]
        if len(set(columns)) < len(columns):
            raise clsbench.UsageError(
                f"dataset 'csv': text, label and split name the columns {', '.join(columns)}; "
                "they must be different"
            )
        if path.is_fifo():  # the file is read again for reports and predictions
            raise clsbench.UsageError(
                f"{path} is a pipe; expected a regular file of labelled texts"
            )
        table = read_table(path, self.table_format())
        if not table.rows:
            raise clsbench.UsageError(f"{path} has no rows")
        texts = table.texts()
        _refuse_blanks(table, texts, f"with an empty text in {self.text!r}")
        class_names, labels = _classes(table, self.label)
        return clsbench.Corpus(
            class_names=class_names,
            texts=texts,
            labels=labels,
            splits=_splits(table, self.split) if self.split else None,
        )


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


def _classes(table: Table, column: str) -> tuple[tuple[str, ...], list[int]]:
    """The names of the classes in their order, and the index of each row's class."""
    path = table.source
    words = [value.strip() for value in table.values(column, "label")]
    _refuse_blanks(table, words, f"without a label in {column!r}")
    first_lines: dict[str, int] = {}
    for row, word in zip(table.rows, words, strict=True):
        first_lines.setdefault(word, row.line)
    if all(NUMBER.fullmatch(word) for word in first_lines):
        names = sorted(first_lines, key=Decimal)
        for one, other in itertools.pairwise(names):
            if Decimal(one) == Decimal(other):
                raise clsbench.UsageError(
                    f"{path}: the labels {one!r} (line {first_lines[one]}) and {other!r} (line "
                    f"{first_lines[other]}) are the same number; write it in one way"
                )
    else:
        names = sorted(first_lines, key=_natural_order)
    if len(names) < 2:
        raise clsbench.UsageError(
            f"{path}: every row has the label {names[0]!r} in {column!r}; a classifier requires at "
            "least two classes"
        )
    if len(names) == len(table.rows) > 2:
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
