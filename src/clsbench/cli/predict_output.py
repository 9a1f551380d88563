"""Show and write what ``clsbench predict`` predicts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from clsbench.cli.options import form_of_ending
from clsbench.cli.output import write_data, write_file
from clsbench.components.labels import NO_CLASS
from clsbench.errors import UsageError
from clsbench.results.csvtext import csv_line, unique_names

if TYPE_CHECKING:
    from clsbench.components.values import Text
    from clsbench.data.delimited import Table, TableRow

FORMATS = ("csv", "tsv", "jsonl")
_OF_PAIRS = ("text", "text_pair")
_LINES_AT_ONCE = 256
_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Prediction(NamedTuple):
    """A text or pair, the probability of each class (empty for a baseline), the predicted class."""

    text: Text
    probabilities: tuple[float, ...]
    predicted: str


class Predictions(NamedTuple):
    """The predictions in the order of the texts, and the table that the texts come from, if any.

    ``changed`` describes the components whose source has changed since training.
    """

    class_names: Sequence[str]
    max_length: int | None
    rows: Iterator[Prediction]
    table: Table | None
    changed: Sequence[str] = ()
    with_probabilities: bool = True
    pairs: bool = False


def check_output(file: Path, form: str | None, source: Path | None) -> str:
    """The format of the file to write; called before anything is computed.

    Raises:
        UsageError: the format is not known, or the file is ``source``, which holds the texts.
    """
    form = form or form_of_ending(file, _ENDINGS)
    if source is not None and file.exists() and source.exists() and os.path.samefile(file, source):
        raise UsageError(f"--output {file} is also the input file; choose another")
    return form


def write_predictions(file: Path, form: str, predictions: Predictions, guard: bool = False) -> None:
    """Write all predictions to a file, which appears complete or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_file(file, "".join(file_lines(form, predictions, guard)))


def write_lines(form: str, predictions: Predictions, guard: bool = False) -> None:
    """Write predictions to stdout as they are computed."""
    lines = file_lines(form, predictions, guard)
    while portion := "".join(islice(lines, _LINES_AT_ONCE)):
        write_data(portion)


def file_lines(form: str, predictions: Predictions, guard: bool = False) -> Iterator[str]:
    """Lines of CSV, TSV or JSON Lines: all columns of the input file, then the predictions.

    If a component has changed since training, a last column ``changed`` says so. ``guard`` puts an
    apostrophe before formulas in CSV and TSV.
    """
    marks = ("; ".join(predictions.changed),) if predictions.changed else ()
    own = _OF_PAIRS if predictions.pairs else ("text",)
    columns = predictions.table.columns if predictions.table is not None else own
    probabilities = predictions.class_names if predictions.with_probabilities else ()
    added = [*(f"probability_{name}" for name in probabilities), "predicted"]
    added += ["changed"] if marks else []
    names = unique_names([*columns, *added])
    if form == "jsonl":
        for row, prediction in _with_rows(predictions):
            kept = _kept(predictions.table, row, names) or _as_columns(prediction.text)
            answers = (*prediction.probabilities, prediction.predicted, *marks)
            new = dict(zip(names[len(columns) :], answers, strict=True))
            yield json.dumps({**kept, **new}, ensure_ascii=False) + "\n"
        return
    delimiter = "\t" if form == "tsv" else ","
    yield csv_line(names, guard, delimiter)
    for row, prediction in _with_rows(predictions):
        table = predictions.table
        given = list(_as_columns(prediction.text).values())
        cells = given if table is None or row is None else table.cells(row)
        shares = map(str, prediction.probabilities)
        yield csv_line([*cells, *shares, prediction.predicted, *marks], guard, delimiter)


def _as_columns(text: Text) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else dict(zip(_OF_PAIRS, text, strict=True))


def _with_rows(predictions: Predictions) -> Iterator[tuple[TableRow | None, Prediction]]:
    if predictions.table is None:
        for prediction in predictions.rows:
            yield None, prediction
    else:
        yield from zip(predictions.table.rows, predictions.rows, strict=True)


def _kept(table: Table | None, row: TableRow | None, names: Sequence[str]) -> dict[str, Any]:
    """The row of the input file by column: JSON values unchanged, CSV fields as text."""
    if table is None or row is None:
        return {}
    if isinstance(row.cells, Mapping):
        return dict(row.cells)
    return dict(zip(names[: len(table.columns)], row.cells, strict=True))


def as_json(predictions: Predictions) -> dict[str, Any]:
    """All predictions as one JSON object; those for a file include its ``columns``."""
    table = predictions.table
    names = unique_names(table.columns) if table is not None else []
    return {
        "class_names": predictions.class_names,
        "max_length": predictions.max_length,
        "changed": list(predictions.changed),
        "predictions": [
            {
                **_as_columns(prediction.text),
                **_probabilities(predictions, prediction),
                "predicted": prediction.predicted,
                **({} if table is None else {"columns": _raw(_kept(table, row, names))}),
            }
            for row, prediction in _with_rows(predictions)
        ],
    }


def _probabilities(predictions: Predictions, prediction: Prediction) -> dict[str, Any]:
    if not predictions.with_probabilities:
        return {}
    by_class = zip(predictions.class_names, prediction.probabilities, strict=True)
    return {"probabilities": dict(by_class)}


def _raw(columns: dict[str, Any]) -> msgspec.Raw:
    """Encoded with ``json``: integers in JSON Lines may exceed the 64 bits of msgspec."""
    return msgspec.Raw(json.dumps(columns).encode())


def print_table(predictions: Predictions) -> None:
    """Print a table, on a terminal truncated to its width."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    from clsbench.report.terminal.console import Console
    from clsbench.report.wording import plain

    on_terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    names = [plain(name) for name in predictions.class_names]
    widest = max(cell_len("predicted"), *(name.cell_len for name in names))
    table.add_column("predicted", style="bold", no_wrap=True, min_width=widest)
    for name in names if predictions.with_probabilities else ():
        width = max(name.cell_len, len("0.0000"))
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for column in _OF_PAIRS if predictions.pairs else ("text",):
        ratio = 1 if on_terminal else None
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=ratio)
    for prediction in predictions.rows:
        shares = [f"{share:.4f}" for share in prediction.probabilities]
        texts = [" ".join(each.split()) for each in _as_columns(prediction.text).values()]
        table.add_row(plain(prediction.predicted or NO_CLASS), *shares, *map(plain, texts))
    console = Console(width=None if on_terminal else 100_000)
    console.print(table)
    for change in predictions.changed:
        console.print(plain(f"CHANGED: {change}", "yellow"))
