"""The data set ``csv``: a user's own file of labelled texts."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from msgspec import Meta

import clsbench

FORMATS = {".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
"""The format that a file's extension stands for; csv for any other."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What may stand in a split column, and what it means."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
LINES_SHOWN = 8


class DelimitedFile(clsbench.Dataset, frozen=True):
    """Your own labelled texts in a CSV, TSV or JSON Lines file in UTF-8; two classes or more.

    The first line of a CSV or TSV file names the columns. Labels are words or numbers: classes
    stand in numeric order, else in that of the alphabet. ``data.quoting=none`` takes quote
    characters as they stand. ``path`` is relative to the working directory; ``~`` is your home.
    """

    path: Annotated[str, Meta(min_length=1, description="the file")]
    text: Annotated[str, Meta(min_length=1, description="the column that holds the texts")] = "text"
    label: Annotated[str, Meta(min_length=1, description="the column that holds the classes")] = (
        "label"
    )
    split: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="a column that says train, validation or test, for"
                " data.split=predefined (default: none)",
            ),
        ]
        | None
    ) = None
    format: (
        Annotated[
            Literal["csv", "tsv", "jsonl"],
            Meta(description="how the file is written (default: as its extension says)"),
        ]
        | None
    ) = None
    delimiter: (
        Annotated[
            str,
            Meta(
                pattern=r'^[^"\r\n\x00]$',
                description="the character between two columns (default: a comma, a tab in TSV)",
            ),
        ]
        | None
    ) = None

    def default_split(self) -> clsbench.SplitName:
        """The file's own, where a column says so."""
        return "stratified" if self.split is None else "predefined"

    def user_files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (Path(os.path.expanduser(self.path)),)

    def load(self, files: clsbench.Files, quoting: str) -> clsbench.Corpus:
        """Read and check the whole file.

        Raises:
            UsageError: names the file and, wherever there is one, the line.
        """
        (path,) = self.user_files()
        columns = [self.text, self.label, *([self.split] if self.split else [])]
        if len(set(columns)) < len(columns):
            raise clsbench.UsageError(
                f"dataset 'csv': text, label and split name the columns {', '.join(columns)}; "
                "each must be another one"
            )
        content = _read(path)
        kind = self.format or FORMATS.get(path.suffix.lower(), "csv")
        rows = list(
            _json_rows(path, content, columns)
            if kind == "jsonl"
            else _delimited_rows(
                path,
                content,
                columns,
                delimiter=self.delimiter or ("\t" if kind == "tsv" else ","),
                quoted=quoting != "none",
            )
        )
        if not rows:
            raise clsbench.UsageError(f"{path} holds no rows")
        texts = _texts(path, rows, self.text)
        class_names, labels = _classes(path, rows, self.label)
        return clsbench.Corpus(
            class_names=class_names,
            texts=texts,
            labels=labels,
            splits=_splits(path, rows, self.split) if self.split else None,
        )


class _Row(NamedTuple):
    """The values of the columns asked for (text, label, split), and the line where they begin."""

    line: int
    values: Sequence[str]


# --- the file -----------------------------------------------------------------------------------


def _fail(path: Path, line: int, message: str) -> NoReturn:
    raise clsbench.UsageError(f"{path}, line {line}: {message}")


def _read(path: Path) -> str:
    """The file's text without a byte order mark."""
    try:
        if path.is_dir():
            raise clsbench.UsageError(f"{path} is a directory; name a file of labelled texts")
        if path.exists() and not path.is_file():
            raise clsbench.UsageError(f"{path} is no regular file; name a file of labelled texts")
        data = path.read_bytes()
    except FileNotFoundError:
        raise clsbench.UsageError(
            f"{path}: there is no such file (the working directory is {Path.cwd()})"
        ) from None
    except (OSError, ValueError) as error:
        raise clsbench.UsageError(f"{path} cannot be read: {error}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise clsbench.UsageError(f"{path} is written in UTF-16; save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise clsbench.UsageError(f"{path} is empty")
    nul = data.find(b"\0")
    if nul >= 0:
        line = _line_of(data, nul)
        _fail(path, line, f"a NUL byte (byte {nul} of the file): it is no text in UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = data[error.start]
        _fail(
            path,
            _line_of(data, error.start),
            f"byte 0x{wrong:02x} (byte {error.start} of the file) is no UTF-8; save the file as "
            "UTF-8",
        )


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


# --- CSV and TSV --------------------------------------------------------------------------------

END = "\0"
"""A line behind the last: a quote that nobody closed swallows it. No file holds a NUL (above)."""


def _delimited_rows(
    path: Path, content: str, columns: Sequence[str], delimiter: str, quoted: bool
) -> Iterator[_Row]:
    records = _records(path, content, delimiter, quoted)
    first_line, header = next(records)
    places = [_place(path, first_line, header, column, delimiter) for column in columns]
    for line, fields in records:
        if len(fields) != len(header):
            _fail(
                path,
                line,
                f"{_count(len(fields), 'field')} where the header has {len(header)}; a text that "
                f"holds {_shown(delimiter)} stands in double quotes"
                + ("" if quoted else ", which data.quoting=none does not read"),
            )
        yield _Row(line, [fields[place] for place in places])


def _records(
    path: Path, content: str, delimiter: str, quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Every record that is no blank line, with the line where it begins."""
    lines = itertools.chain(io.StringIO(content, newline=""), [END])
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    # The standard library refuses fields over 131,072 characters unless told otherwise.
    usual = csv.field_size_limit(min(len(content) + 1, 2**31 - 1))
    records: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for fields in reader:
            if fields:
                records.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        _fail(path, line, str(error))
    finally:
        csv.field_size_limit(usual)
    line, last = records.pop()
    if last != [END]:
        _fail(
            path,
            line,
            "a double quote is opened here and never closed; data.quoting=none takes quotes as "
            "they stand",
        )
    return iter(records)


def _place(path: Path, line: int, header: Sequence[str], column: str, delimiter: str) -> int:
    if header.count(column) > 1:
        _fail(path, line, f"the header names the column {column!r} {header.count(column)} times")
    if column in header:
        return header.index(column)
    message = _missing_column(column, header)
    if len(header) == 1:
        other = [mark for mark in ",;\t|" if mark != delimiter and mark in header[0]]
        message += "".join(
            f". Are the columns separated by {_shown(mark)}? Say "
            + ("format=tsv" if mark == "\t" else f"delimiter={mark}")
            for mark in other[:1]
        )
    _fail(path, line, message)


def _missing_column(column: str, header: Sequence[str]) -> str:
    names = [name if len(name) <= 40 else name[:39] + "…" for name in header]
    hint = clsbench.closest_match_hint(column, names)
    listed = "" if "choose from" in hint else f" Its columns: {', '.join(names)}"
    return (
        f"there is no column {column!r}{hint}{listed}. The first line names the columns; say which "
        "is which with text=COLUMN and label=COLUMN"
    )


def _shown(delimiter: str) -> str:
    return {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(delimiter, repr(delimiter))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- JSON Lines ---------------------------------------------------------------------------------


def _json_rows(path: Path, content: str, columns: Sequence[str]) -> Iterator[_Row]:
    for line, source in enumerate(content.split("\n"), start=1):
        if not source.strip():
            continue
        try:
            row = json.loads(source, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            _fail(path, line, f"no valid JSON: {error.msg} (column {error.colno}){_whole(source)}")
        except (ValueError, RecursionError) as error:
            _fail(path, line, f"no valid JSON: {error}")
        if not isinstance(row, dict):
            _fail(path, line, f"expected one JSON object a line, got {_json_type(row)}")
        yield _Row(line, [_json_text(path, line, row, column, columns[0]) for column in columns])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _whole(source: str) -> str:
    if source.strip() in ("[", "{"):
        return "; the file must hold one whole object a line (JSON Lines), not one document"
    return ""


def _json_text(path: Path, line: int, row: dict[str, Any], column: str, text_column: str) -> str:
    if column not in row:
        hint = clsbench.closest_match_hint(column, row)
        _fail(path, line, f"the object has no key {column!r}{hint}")
    value = row[column]
    if isinstance(value, str):
        return _whole_text(path, line, column, value)
    if value is None:
        return ""
    if column == text_column or isinstance(value, list | dict):
        expected = "text" if column == text_column else "text or a number"
        _fail(path, line, f"{column!r} holds {_json_type(value)}, expected {expected}")
    return json.dumps(value)


def _whole_text(path: Path, line: int, column: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        _fail(path, line, f"{column!r} holds half a surrogate pair (\\u{code:04x}): no character")
    if "\0" in value:
        _fail(path, line, f"{column!r} holds a NUL character")
    return value


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


# --- what the rows say --------------------------------------------------------------------------


def _refuse(path: Path, rows: Sequence[_Row], wrong: Callable[[_Row], bool], what: str) -> None:
    lines = [row.line for row in rows if wrong(row)]
    if lines:
        shown = ", ".join(map(str, lines[:LINES_SHOWN])) + (" …" if lines[LINES_SHOWN:] else "")
        raise clsbench.UsageError(
            f"{path}: {_count(len(lines), 'row')} {what} ({'lines' if lines[1:] else 'line'} "
            f"{shown}); fill in or remove them"
        )


def _texts(path: Path, rows: Sequence[_Row], column: str) -> list[str]:
    _refuse(path, rows, lambda row: not row.values[0].strip(), f"with an empty text in {column!r}")
    return [row.values[0] for row in rows]


def _classes(path: Path, rows: Sequence[_Row], column: str) -> tuple[tuple[str, ...], list[int]]:
    """The names of the classes in their order, and the index of each row's class."""
    words = [row.values[1].strip() for row in rows]
    _refuse(path, rows, lambda row: not row.values[1].strip(), f"without a label in {column!r}")
    first_lines: dict[str, int] = {}
    for row, word in zip(rows, words, strict=True):
        first_lines.setdefault(word, row.line)
    if all(NUMBER.fullmatch(word) for word in first_lines):
        names = sorted(first_lines, key=Decimal)
        for one, other in itertools.pairwise(names):
            if Decimal(one) == Decimal(other):
                raise clsbench.UsageError(
                    f"{path}: the labels {one!r} (line {first_lines[one]}) and {other!r} (line "
                    f"{first_lines[other]}) are the same number; write it one way"
                )
    else:
        names = sorted(first_lines)
    if len(names) < 2:
        raise clsbench.UsageError(
            f"{path}: every row has the label {names[0]!r} in {column!r}; a classifier needs two "
            "classes at least"
        )
    if len(names) == len(rows) > 2:
        raise clsbench.UsageError(
            f"{path}: every row has another label in {column!r}: is that the column of the classes?"
        )
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), [index[word] for word in words]


def _splits(path: Path, rows: Sequence[_Row], column: str) -> list[str]:
    splits = []
    for row in rows:
        name = SPLIT_NAMES.get(row.values[2].strip().lower())
        if name is None:
            hint = clsbench.closest_match_hint(row.values[2], ("train", "validation", "test"))
            _fail(path, row.line, f"{row.values[2]!r} in {column!r} is no split{hint}")
        splits.append(name)
    return splits


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """The user's own file."""
    return {"csv": DelimitedFile}
