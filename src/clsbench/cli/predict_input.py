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

from clsbench.components.values import TableFormat, Text, TextPair
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
    "text_pair": "--pair-column",
}
_LINES_SHOWN = 8


class Texts(NamedTuple):
    """The texts in order, the line where each begins, and the table of the file, if any.

    There is one text or text pair for each row of the table. Arguments have no lines.
    """

    texts: Sequence[Text]
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
    """The texts, or the text pairs, of a CSV, TSV or JSON Lines file, one for each row.

    Raises:
        UsageError: the file cannot be read or is damaged; names the line.
    """
    from clsbench.data.delimited import read_table

    table = read_table(file, format, option_text)
    texts: Sequence[Text] = table.texts()
    if (seconds := table.text_pairs()) is not None:
        texts = list(map(TextPair, table.texts(), seconds))
    return Texts(texts, [row.line for row in table.rows], table)


def texts_of_stdin(encoding: str, pairs: bool) -> Texts:
    """The lines of stdin, one text or text pair per line, blank ones included.

    Raises:
        UsageError: stdin is not text in this encoding, or a line is not a pair; names the line.
    """
    from clsbench.data.textfile import decode_text

    if sys.stdin.isatty():
        what = "text pair, with a tab between its texts," if pairs else "text"
        logger.info("type one %s per line; finish with Ctrl-D", what)
    given = lines_of(decode_text(sys.stdin.buffer.read(), "stdin", encoding, option_text))
    return pairs_of_lines(given) if pairs else given


def pairs_of_lines(given: Texts) -> Texts:
    """The pairs in lines with a tab between two texts.

    Raises:
        UsageError: a line has no tab, or several; names the line.
    """
    pairs = []
    for line, text in enumerate(given.texts, start=1):
        assert isinstance(text, str)
        parts = text.split("\t")
        if len(parts) != 2:
            found = "no tab" if len(parts) == 1 else f"{len(parts) - 1} tabs"
            raise UsageError(
                f"stdin, line {line}: {found}, expected one between the two texts of a pair, since "
                "the run was trained on text pairs; give texts with tabs in a file, with --csv FILE"
            )
        pairs.append(TextPair(*parts))
    return given._replace(texts=pairs)


def lines_of(text: str) -> Texts:
    """One text per line, without its line ending."""
    lines = [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]
    return Texts(lines, range(1, len(lines) + 1))


def texts_of_arguments(texts: Sequence[str], seconds: Sequence[str] = ()) -> Texts:
    """Texts from the command line, and the ``seconds`` of pairs, if any.

    Raises:
        UsageError: one is not text in the encoding of the terminal, or there are more texts of one
            kind.
    """
    if seconds and len(seconds) != len(texts):
        raise UsageError(
            f"{len(texts)} TEXT and {len(seconds)} --pair were given; expected one --pair for each "
            "TEXT, in the same order"
        )
    named = [(f"TEXT {n}", text) for n, text in enumerate(texts, start=1)]
    named += [(f"--pair {n}", text) for n, text in enumerate(seconds, start=1)]
    for name, text in named:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) - 0xDC00
            raise UsageError(
                f"{name}: byte 0x{byte:02x} is not valid "
                f"{sys.getfilesystemencoding().upper()}; write the texts to a file and give its "
                "encoding with --encoding"
            ) from None
    return Texts(list(map(TextPair, texts, seconds)) if seconds else texts)


def warn_of_blanks(given: Texts) -> None:
    """Warn of blank texts by line. They get predictions too, so that each row has one."""
    blank = [place for place, text in enumerate(given.texts) if _is_blank(text)]
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


def _is_blank(text: Text) -> bool:
    parts = (text,) if isinstance(text, str) else text
    return not all(part.strip() for part in parts)
