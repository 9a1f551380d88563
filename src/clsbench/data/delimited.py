"""Read tables of texts in CSV, TSV and JSON Lines, for training and for prediction."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from clsbench.components.values import TableFormat
from clsbench.data.textfile import Setting, line_error, read_text
from clsbench.errors import UsageError, closest_match_hint
from clsbench.schema.decoding import DecodingError, decode_json

FORMATS = {".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
"""The format of a file by its extension; csv for any other extension."""


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class TableRow(NamedTuple):
    """One row and the line where it begins.

    ``cells`` are the fields of a delimited file in the order of its columns, or the JSON object.
    """

    line: int
    cells: Sequence[str] | Mapping[str, Any]


class Table:
    """All rows and columns of a file. A column is checked when it is read.

    ``columns`` are in the order of the header, or in the order in which they first occur in JSON
    objects.
    """

    def __init__(
        self,
        source: str,
        format: TableFormat,
        columns: Sequence[str],
        rows: Sequence[TableRow],
        *,
        header_line: int = 1,
        setting: Setting = "{}={}".format,
    ) -> None:
        self.source = source
        self.format = format
        self.columns = tuple(columns)
        self.rows = rows
        self._header_line = header_line
        self._setting = setting

    def texts(self) -> list[str]:
        """The column that holds the texts; a missing value in JSON is an empty text.

        Raises:
            UsageError: the column is missing, or a value in it is not text; names the line.
        """
        return self._column(self.format.text, "text", numbers=False)

    def text_pairs(self) -> list[str] | None:
        """The column that holds the second texts of pairs, if the format names one.

        Raises:
            UsageError: as for :meth:`texts`.
        """
        if self.format.text_pair is None:
            return None
        return self._column(self.format.text_pair, "text_pair", numbers=False)

    def values(self, column: str, option: str) -> list[str]:
        """Another column, with numbers converted to text; ``option`` is the setting that names it.

        Raises:
            UsageError: the column is missing, or holds arrays or objects; names the line.
        """
        return self._column(column, option, numbers=True)

    def cells(self, row: TableRow) -> list[str]:
        """All columns of a row as text, empty where a JSON object lacks one."""
        if isinstance(row.cells, Mapping):
            return [_as_text(row.cells.get(column)) for column in self.columns]
        return list(row.cells)

    def _column(self, column: str, option: str, numbers: bool) -> list[str]:
        if self.format.format == "jsonl":
            return [self._json_text(row, column, option, numbers) for row in self.rows]
        place = self._place(column, option)
        return [row.cells[place] for row in self.rows]  # type: ignore[index]

    def _error(self, line: int, message: str) -> UsageError:
        return line_error(self.source, line, message)

    def _place(self, column: str, option: str) -> int:
        line = self._header_line
        if self.columns.count(column) > 1:
            count = self.columns.count(column)
            raise self._error(line, f"the header names the column {column!r} {count} times")
        if column in self.columns:
            return self.columns.index(column)
        names = [name if len(name) <= 40 else name[:39] + "…" for name in self.columns]
        hint = closest_match_hint(column, names)
        listed = "" if "choose from" in hint else f" Its columns: {', '.join(names)}"
        message = f"column {column!r} not found{hint}{listed}{self._other_format()}. "
        raise self._error(
            line,
            f"{message}The first line names the columns; choose one with "
            f"{self._setting(option, 'COLUMN')}",
        )

    def _other_format(self) -> str:
        """Advice if a header of one column suggests another format, else empty."""
        if len(self.columns) > 1:
            return ""
        (header,) = self.columns
        if header.lstrip().startswith("{"):
            return f". Is it JSON Lines? Give {self._setting('format', 'jsonl')}"
        for mark in ",;\t|":
            if mark != self.format.delimiter and mark in header:
                change = ("format", "tsv") if mark == "\t" else ("delimiter", mark)
                return (
                    f". Are the columns separated by {_shown(mark)}? Give {self._setting(*change)}"
                )
        return ""

    def _json_text(self, row: TableRow, column: str, option: str, numbers: bool) -> str:
        assert isinstance(row.cells, Mapping)
        if column not in row.cells:
            hint = closest_match_hint(column, row.cells)
            raise self._error(
                row.line,
                f"the object has no key {column!r}{hint} ({self._setting(option, 'KEY')} names "
                "another)",
            )
        value = row.cells[column]
        if isinstance(value, str):
            if "\0" in value:
                raise self._error(row.line, f"{column!r} holds a NUL character")
        elif isinstance(value, list | dict) or (value is not None and not numbers):
            expected = "text or a number" if numbers else "text"
            raise self._error(
                row.line, f"{column!r} holds {_json_type(value)}, expected {expected}"
            )
        return _as_text(value)


def read_table(path: Path, format: TableFormat, setting: Setting = "{}={}".format) -> Table:
    """Read a whole file, all columns.

    In a file with one column a blank line is a row with an empty text; otherwise it is skipped.
    Each row of a delimited file must have as many fields as the header. ``setting`` formats the
    settings that errors suggest.

    Raises:
        UsageError: the file cannot be read or is damaged; names the file and the line.
    """
    text = read_text(path, format.encoding, setting)
    kind: Any = format.format or FORMATS.get(path.suffix.lower(), "csv")
    delimiter = format.delimiter or ("\t" if kind == "tsv" else ",")
    format = replace(format, format=kind, delimiter=delimiter)
    read = _read_json_lines if kind == "jsonl" else _read_delimited
    return read(str(path), text, format, setting)


# --- CSV and TSV --------------------------------------------------------------------------------

_END = "\0"
"""A sentinel after the last line, which an unclosed quote includes in its field; no text holds a
NUL (``decode_text``)."""


def _read_delimited(source: str, text: str, format: TableFormat, setting: Setting) -> Table:
    records = _records(source, text, format, setting)
    header_line, header = next((line, fields) for line, fields in records if fields)
    rows = []
    for line, fields in records:
        if not fields:
            if len(header) > 1:
                continue
            fields = [""]
        if len(fields) != len(header):
            assert format.delimiter is not None
            unread = format.quoting == "none"
            raise line_error(
                source,
                line,
                f"{_count(len(fields), 'field')}, but the header has {len(header)}; a text that "
                f"contains {_shown(format.delimiter)} must be in double quotes"
                + (f", which {setting('quoting', 'none')} does not read" if unread else ""),
            )
        rows.append(TableRow(line, fields))
    return Table(source, format, header, rows, header_line=header_line, setting=setting)


def _records(
    source: str, text: str, format: TableFormat, setting: Setting
) -> Iterator[tuple[int, list[str]]]:
    """Every record with the line where it begins; a blank line is a record without fields."""
    assert format.delimiter is not None
    reader = csv.reader(
        itertools.chain(io.StringIO(text, newline=""), [_END]),
        delimiter=format.delimiter,
        quoting=csv.QUOTE_NONE if format.quoting == "none" else csv.QUOTE_MINIMAL,
    )
    # By default, the standard library refuses fields over 131,072 characters.
    usual = csv.field_size_limit(min(len(text) + 1, 2**31 - 1))
    records: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for fields in reader:
            records.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise line_error(source, line, str(error)) from None
    finally:
        csv.field_size_limit(usual)
    line, last = records.pop()
    if last != [_END]:
        raise line_error(
            source,
            line,
            "a double quote is opened here and never closed; if quotes are part of the texts, use "
            f"{setting('quoting', 'none')}",
        )
    return iter(records)


def _shown(delimiter: str) -> str:
    return {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(delimiter, repr(delimiter))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- JSON Lines ---------------------------------------------------------------------------------


def _read_json_lines(source: str, text: str, format: TableFormat, setting: Setting) -> Table:
    rows = []
    columns: dict[str, None] = {}
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            value = decode_json(written)
        except DecodingError as error:
            advice = _json_advice(written)
            raise line_error(source, line, f"not valid JSON: {error}{advice}") from None
        if not isinstance(value, dict):
            raise line_error(
                source, line, f"expected one JSON object a line, got {_json_type(value)}"
            )
        columns.update(dict.fromkeys(value))
        rows.append(TableRow(line, value))
    return Table(source, format, tuple(columns), rows, setting=setting)


def _json_advice(written: str) -> str:
    if written.strip() in ("[", "{"):
        return "; the file must hold one whole object a line (JSON Lines), not one document"
    if _SURROGATE.search(written):
        return "; half a surrogate pair (such as \\ud83d alone) is not a character"
    return ""


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
