"""The texts for ``clsbench predict``: arguments, lines of stdin, or rows of a file."""

from __future__ import annotations

import io
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from clsbench.components.values import TableFormat
from clsbench.errors import PluginError, UsageError
from clsbench.schema.convert import convert

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.data.delimited import Table
    from clsbench.schema.record import RunRecord

logger = logging.getLogger(__name__)

_OPTIONS = {
    "format": "--input-format",
    "delimiter": "--delimiter",
    "quoting": "--quoting",
    "encoding": "--encoding",
    "text": "--column",
}
_LINES_SHOWN = 8


class Texts(NamedTuple):
    """The texts in order, the line where each begins, and the table of the file, if any.

    There is one text for each row of the table. Arguments have no lines.
    """

    texts: Sequence[str]
    lines: Sequence[int] | None = None
    table: Table | None = None


def format_of_run(record: RunRecord, catalog: Catalog) -> TableFormat:
    """The format in which the data set of a run reads files of further texts.

    Raises:
        UsageError: the run's components are not available.
        PluginError: ``table_format()`` of its data set does not return a format.
    """
    from clsbench.experiment.preparation import stored_experiment

    experiment = stored_experiment(record, catalog)
    format = experiment.dataset.table_format()
    if not isinstance(format, TableFormat):
        raise PluginError(
            f"dataset {type(experiment.dataset).__name__}: table_format() returns "
            f"{type(format).__name__}, expected a clsbench.data.TableFormat"
        )
    return format


def changed_format(format: TableFormat, changes: Mapping[str, str | None]) -> TableFormat:
    """The format with the ``changes`` of the command line; a new format resets the delimiter.

    Raises:
        UsageError: a value is not valid.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    plain: dict[str, Any] = msgspec.to_builtins(format)
    if "format" in given:
        plain["delimiter"] = None
    return convert({**plain, **given}, TableFormat, "options")


def option_text(name: str, value: str) -> str:
    """A setting of the format as written on the command line."""
    return f"{_OPTIONS[name]} {shlex.quote(value)}"


def texts_of_file(file: Path, format: TableFormat) -> Texts:
    """The texts of a CSV, TSV or JSON Lines file, one for each row.

    Raises:
        UsageError: the file cannot be read or is damaged; names the line.
    """
    from clsbench.data.delimited import read_table

    table = read_table(file, format, option_text)
    return Texts(table.texts(), [row.line for row in table.rows], table)


def texts_of_stdin(encoding: str) -> Texts:
    """The lines of stdin, one text per line, blank ones included.

    Raises:
        UsageError: stdin is not text in this encoding; names the byte and the line.
    """
    from clsbench.data.textfile import decode_text

    if sys.stdin.isatty():
        logger.info("type one text per line; finish with Ctrl-D")
    return lines_of(decode_text(sys.stdin.buffer.read(), "stdin", encoding, option_text))


def lines_of(text: str) -> Texts:
    """One text per line, without its line ending."""
    lines = [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]
    return Texts(lines, range(1, len(lines) + 1))


def texts_of_arguments(texts: Sequence[str]) -> Texts:
    """Texts from the command line.

    Raises:
        UsageError: one is not text in the encoding of the terminal.
    """
    for number, text in enumerate(texts, start=1):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) - 0xDC00
            raise UsageError(
                f"TEXT {number}: byte 0x{byte:02x} is not valid "
                f"{sys.getfilesystemencoding().upper()}; write the texts to a file and give its "
                "encoding with --encoding"
            ) from None
    return Texts(texts)


def warn_of_blanks(given: Texts) -> None:
    """Warn of blank texts by line. They get predictions too, so that each row has one."""
    blank = [place for place, text in enumerate(given.texts) if not text.strip()]
    if not blank:
        return
    where = ""
    if given.lines is not None:
        lines = [str(given.lines[place]) for place in blank]
        shown = ", ".join(lines[:_LINES_SHOWN]) + (" …" if lines[_LINES_SHOWN:] else "")
        where = f" ({'lines' if lines[1:] else 'line'} {shown})"
    logger.warning(
        "%d of %d texts %s blank%s; the prediction for a blank text is meaningless",
        len(blank),
        len(given.texts),
        "are" if len(blank) > 1 else "is",
        where,
    )
