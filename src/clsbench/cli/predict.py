"""``clsbench predict``: class probabilities of texts, from the classifier that a run stored."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import rich_click as click

from clsbench.cli.completion import complete_run
from clsbench.cli.options import chosen_run_options, panels, run_options
from clsbench.cli.session import Session
from clsbench.errors import UsageError, closest_match_hint

if TYPE_CHECKING:
    from clsbench.prediction import Predictor
    from clsbench.record import RunRecord

logger = logging.getLogger(__name__)

PORTION_TEXTS = 256
"""Texts are read and answered in portions of this many, so that memory stays small."""

JSON_LINES = (".jsonl", ".ndjson", ".json")
TABBED = (".tsv", ".tab")
"""Endings of files; any other is comma-separated, as for the data set ``csv``."""


class Prediction(NamedTuple):
    """A text, the probability of each class, and the class that has the largest."""

    text: str
    probabilities: tuple[float, ...]
    predicted: str


@click.command("predict")
@panels
@click.argument(
    "run",
    shell_complete=complete_run,
    help="A stored run: its name, the beginning of it, its directory, or latest.",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]…", help="Texts; without any, lines of stdin.")
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the texts from a file: CSV with a header line; TSV and JSON Lines by its ending.",
)
@click.option("--column", metavar="NAME", help="The column that holds the texts. [default: text]")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to show the probabilities.",
)
@run_options("device", "precision", "threads", "assets", "offline", "out")
@click.pass_context
def predict(
    ctx: click.Context,
    run: str,
    texts: tuple[str, ...],
    csv_file: Path | None,
    column: str | None,
    output_format: str,
) -> None:
    """The probability of each class for each text, from the classifier that a run stored.

    Texts are cut and padded as in training; what is cut is said on stderr.

    \b
    clsbench predict latest "You are a winner" "See you at seven"
    clsbench predict latest < messages.txt               one text a line
    clsbench predict latest --csv messages.csv --column body --format csv
    """
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    if csv_file is not None and texts:
        raise UsageError("give texts or --csv FILE, not both")
    if column is not None and csv_file is None:
        raise UsageError("--column belongs to --csv FILE")
    wanted = read_column(csv_file, column or "text") if csv_file else texts or _stdin_lines()

    from clsbench.results.store import find_run, read_record

    path = find_run(options.out, run)
    _warn_of(read_record(path))

    from clsbench.cli.downloads import showing_downloads
    from clsbench.cli.output import only_results_on_stdout
    from clsbench.prediction import load_predictor

    with only_results_on_stdout(), showing_downloads(session.quiet) as progress:
        predictor = load_predictor(path, options, session.catalog(), progress)
    _write(output_format, predictor, _predictions(predictor, wanted))


def _warn_of(record: RunRecord) -> None:
    """What one should know before one trusts the answers."""
    for stand_in in record.stand_ins:
        logger.warning(
            "this classifier was made with a stand-in: %s in place of %s",
            stand_in.by,
            stand_in.replaced,
        )
    if record.status != "finished":
        logger.warning("the run was %s: %s", record.status, record.error)


def read_column(file: Path, column: str) -> list[str]:
    """The texts in one column of a CSV or TSV file, or under one key of a JSON Lines file.

    Raises:
        UsageError: the file cannot be read, has no such column, or is damaged; names the line.
    """
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no UTF-8 text: {error}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    suffix = file.suffix.lower()
    if suffix in JSON_LINES:
        return list(_texts_of_json_lines(file, content, column))
    return list(_texts_of_records(file, content, column, "\t" if suffix in TABBED else ","))


def _texts_of_records(file: Path, content: str, column: str, delimiter: str) -> Iterator[str]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    usual = csv.field_size_limit(sys.maxsize)
    line, place = 1, -1
    names: list[str] = []
    try:
        for fields in reader:
            if fields and not names:
                names = fields
                place = _place(file, line, column, names)
            elif fields and len(fields) != len(names):
                raise UsageError(
                    f"{file}, line {line}: the header names {len(names)} columns, but here are "
                    f"{len(fields)} fields; a text that holds the separator stands in double quotes"
                )
            elif fields:
                yield fields[place]
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{file}, line {line}: {error}") from None
    finally:
        csv.field_size_limit(usual)
    if not names:
        raise UsageError(f"{file} is empty; its first line names the columns")


def _place(file: Path, line: int, column: str, names: list[str]) -> int:
    if names.count(column) > 1:
        times = names.count(column)
        raise UsageError(
            f"{file}, line {line}: the header names the column {column!r} {times} times"
        )
    if column not in names:
        hint = closest_match_hint(column, names)
        raise UsageError(f"{file} has no column {column!r}{hint} (--column names one)")
    return names.index(column)


def _texts_of_json_lines(file: Path, content: str, column: str) -> Iterator[str]:
    for line, source in enumerate(content.split("\n"), start=1):
        if not source.strip():
            continue
        try:
            row = msgspec.json.decode(source, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"{file}, line {line}: expected one JSON object a line: {error}"
            ) from None
        if column not in row:
            hint = closest_match_hint(column, row)
            raise UsageError(f"{file}, line {line}: no key {column!r}{hint} (--column names one)")
        if not isinstance(row[column], str):
            raise UsageError(f"{file}, line {line}: what {column!r} holds is no text")
        yield row[column]


def _stdin_lines() -> Iterator[str]:
    """Lines of stdin, told where a person might wonder why nothing happens."""
    if sys.stdin is None:
        return
    if sys.stdin.isatty():
        logger.info("type one text a line, and end with Ctrl-D")
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
    for line in stdin:
        yield line.rstrip("\r\n")


def _predictions(predictor: Predictor, texts: Iterable[str]) -> Iterator[Prediction]:
    """Answers in portions; says at the end how many texts were cut."""
    count = cut = 0
    for portion in _portions(iter(texts)):
        count += len(portion)
        cut += predictor.truncated(portion)
        for text, row in zip(portion, predictor.predict(portion), strict=True):
            predicted = predictor.class_names[int(row.argmax())]
            yield Prediction(text, tuple(row.tolist()), predicted)
    if cut:
        logger.warning(
            "%d of %d texts were longer than the %d tokens of training and were cut",
            cut,
            count,
            predictor.max_length,
        )
    if not count:
        logger.warning("there were no texts to classify")


def _portions(texts: Iterator[str]) -> Iterator[list[str]]:
    while portion := list(islice(texts, PORTION_TEXTS)):
        # Arguments that are no UTF-8 hold lone surrogates, which nothing downstream can encode.
        yield [text.encode("utf-8", "replace").decode("utf-8") for text in portion]


def _write(output_format: str, predictor: Predictor, predictions: Iterator[Prediction]) -> None:
    if output_format == "json":
        _write_json(predictor, predictions)
    elif output_format == "csv":
        _write_csv(predictor, predictions)
    else:
        _write_table(predictor, predictions)


def _write_json(predictor: Predictor, predictions: Iterator[Prediction]) -> None:
    from clsbench.cli.output import write_json

    write_json(
        {
            "class_names": predictor.class_names,
            "max_length": predictor.max_length,
            "predictions": [
                {
                    "text": prediction.text,
                    "probabilities": dict(
                        zip(predictor.class_names, prediction.probabilities, strict=True)
                    ),
                    "predicted": prediction.predicted,
                }
                for prediction in predictions
            ],
        }
    )


def _write_csv(predictor: Predictor, predictions: Iterator[Prediction]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = [f"probability_{name}" for name in predictor.class_names]
    writer.writerow(["text", *header, "predicted"])
    for prediction in predictions:
        writer.writerow([prediction.text, *prediction.probabilities, prediction.predicted])


def _write_table(predictor: Predictor, predictions: Iterator[Prediction]) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    from clsbench.report.console import Console

    on_terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    names = predictor.class_names
    widest = max(map(cell_len, ("predicted", *names)))
    table.add_column("predicted", style="bold", no_wrap=True, min_width=widest)
    for name in names:
        width = max(cell_len(name), len("0.0000"))
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1 if on_terminal else None)
    for prediction in predictions:
        shares = [f"{share:.4f}" for share in prediction.probabilities]
        text = " ".join(prediction.text.split())
        table.add_row(Text(prediction.predicted), *shares, Text(text))
    Console(width=None if on_terminal else 100_000).print(table)
