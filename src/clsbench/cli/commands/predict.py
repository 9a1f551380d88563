"""``clsbench predict``: predict the classes of texts with the classifier of a stored run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from clsbench.cli import predict_input, predict_output
from clsbench.cli.completion import complete_run
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import (
    check_guard_formulas,
    guard_formulas_option,
    output_option,
    panels,
    run_options,
)
from clsbench.cli.predict_input import Texts
from clsbench.cli.predict_output import Prediction, Predictions
from clsbench.cli.run_warnings import warn_of_run
from clsbench.cli.session import Session, chosen_run_options
from clsbench.components.labels import label_text, labels_of
from clsbench.errors import UsageError

if TYPE_CHECKING:
    from clsbench.experiment.predict import BaselinePredictor, Predictor
    from clsbench.schema.record import RunRecord

logger = logging.getLogger(__name__)

PORTION_TEXTS = 256
"""Texts are classified in chunks of this size to bound memory."""

_SECONDS_BETWEEN_LINES = 10.0


@click.command("predict", cls=JsonCommand)
@panels
@click.argument(
    "run",
    shell_complete=complete_run,
    help="A stored run: its name, a prefix of its name, its directory, or latest.",
)
@click.argument("texts", nargs=-1, metavar="[TEXT]…", help="Texts (default: lines of stdin).")
@click.option(
    "--baseline",
    metavar="NAME",
    help="Predict with a baseline stored with the run, such as tfidf-logreg; it predicts classes "
    "without probabilities.",
)
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the texts from a CSV, TSV or JSON Lines file, in the format of the run's data set.",
)
@click.option(
    "--column",
    metavar="NAME",
    help="Column of --csv that holds the texts. [default: as in training, else text]",
)
@click.option(
    "--pair",
    "seconds",
    metavar="TEXT",
    multiple=True,
    help="Second text of a pair, for a run that was trained on text pairs; one for each TEXT.",
)
@click.option(
    "--pair-column",
    metavar="NAME",
    help="Column of --csv that holds the second texts of pairs. [default: as in training]",
)
@click.option(
    "--input-format",
    type=click.Choice(["csv", "tsv", "jsonl"]),
    help="Format of --csv. [default: as in training, else from its extension]",
)
@click.option(
    "--delimiter",
    metavar="CHARACTER",
    help="Column separator of --csv. [default: as in training]",
)
@click.option(
    "--quoting",
    type=click.Choice(["default", "none"]),
    help="Quoting in --csv; none: double quotes are part of the texts. [default: as in training]",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="Character encoding of --csv or stdin, such as utf-16 or latin-1. [default: as in "
    "training for --csv, utf-8 for stdin]",
)
@output_option("Write the predictions to a file, with all columns of --csv.")
@click.option(
    "--format",
    "form",
    type=click.Choice(predict_output.FORMATS),
    help="File format; without --output the file is printed. "
    "[default: from the extension of --output]",
)
@click.option(
    "--allow-changed",
    is_flag=True,
    help="Predict even if a component's source has changed since training; the predictions are "
    "marked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@guard_formulas_option
@run_options("device", "precision", "threads", "assets", "offline", "out")
@click.pass_context
def predict(
    ctx: click.Context,
    run: str,
    texts: tuple[str, ...],
    baseline: str | None,
    csv_file: Path | None,
    column: str | None,
    seconds: tuple[str, ...],
    pair_column: str | None,
    input_format: str | None,
    delimiter: str | None,
    quoting: str | None,
    encoding: str | None,
    file: Path | None,
    form: str | None,
    allow_changed: bool,
    as_json: bool,
    guard_formulas: bool,
) -> None:
    """Predict the classes of texts with the classifier of a stored run.

    With --baseline, predict with a baseline stored with the run; it gives classes only.

    Each row of a file, or line of stdin, gets one prediction, in order; blank texts get one too. A
    blank line counts as a row if the file has one column, and is skipped if it has several. Texts
    are truncated and padded as in training; a warning shows how many are truncated. A run that was
    trained on text pairs needs pairs: with --pair, with --pair-column, or with a tab between the
    two texts on each line of stdin.

    \b
    clsbench predict latest "You have won a prize, call now to claim" "See you at lunch"
    clsbench predict latest < messages.txt               one text per line
    clsbench predict latest --csv messages.csv --column body --output answers.csv
    clsbench predict latest "A man sleeps" --pair "A person rests"     a text pair
    """
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    of_csv = {"format": input_format, "delimiter": delimiter, "quoting": quoting, "text": column}
    of_csv["text_pair"] = pair_column
    _check_options(texts, seconds, csv_file, of_csv, encoding)
    if as_json and (file or form):
        raise UsageError("--json cannot be combined with --output or --format")
    if file is not None:
        form = predict_output.check_output(file, form, csv_file)
    shown = "csv" if form == "tsv" else form or ("json" if as_json else "table")
    check_guard_formulas(guard_formulas, shown)

    from clsbench.data.encoding import check_kind
    from clsbench.results.store import StoredRun, find_run, read_record

    path = find_run(options.out, run)
    record = read_record(path)
    pairs = record.data is not None and record.data.text_pairs
    if baseline is None:
        _warn(record, options.precision)
    catalog = session.catalog()
    if csv_file is not None:
        format = predict_input.format_of_run(record, catalog)
        format = predict_input.changed_format(format, {**of_csv, "encoding": encoding})
        given = predict_input.texts_of_file(csv_file, format)
    elif texts:
        given = predict_input.texts_of_arguments(texts, seconds)
    else:
        given = predict_input.texts_of_stdin(encoding or "utf-8", pairs)
    check_kind(given.texts, pairs)
    predict_input.warn_of_blanks(given)

    from clsbench.cli.display.downloads import showing_downloads
    from clsbench.cli.output import only_results_on_stdout
    from clsbench.experiment.predict import load_baseline, load_predictor

    with only_results_on_stdout(), showing_downloads(session.quiet) as progress:
        if baseline is not None:
            stored = StoredRun(path, record)
            restored = load_baseline(stored, baseline, options, catalog, progress, allow_changed)
            if restored.reads_backbone:
                _warn(record, options.precision)
            else:
                warn_of_run(record, ("dataset",))
            rows = baseline_predictions(restored, given)
            names, most, changed = restored.class_names, None, restored.changed
        else:
            predictor = load_predictor(path, options, catalog, progress, allow_changed)
            rows = predictions_of(predictor, given)
            names, most, changed = predictor.class_names, predictor.max_length, predictor.changed
    predictions = Predictions(names, most, rows, given.table, changed, baseline is None, pairs)
    if as_json:
        write_result(ctx, predict_output.as_json(predictions))
    elif file is not None and form is not None:
        predict_output.write_predictions(file, form, predictions, guard_formulas)
        logger.info("wrote %d predictions to %s", len(given.texts), file)
    elif form is not None:
        predict_output.write_lines(form, predictions, guard_formulas)
    else:
        predict_output.print_table(predictions)


def _check_options(
    texts: tuple[str, ...],
    seconds: tuple[str, ...],
    csv_file: Path | None,
    of_csv: dict[str, str | None],
    encoding: str | None,
) -> None:
    if csv_file is not None and texts:
        raise UsageError("give texts or --csv FILE, not both")
    if seconds and not texts:
        raise UsageError(
            "--pair TEXT gives the second text of a TEXT on the command line; for a "
            "file, name the column of the second texts with --pair-column"
        )
    for name, value in of_csv.items():
        if value is not None and csv_file is None:
            option = predict_input.option_text(name, value)
            raise UsageError(f"{option} requires --csv FILE")
    if encoding is not None and texts:
        raise UsageError("--encoding applies to --csv FILE or stdin, not to texts as arguments")


def _warn(record: RunRecord, precision: str) -> None:
    """Warn of what makes predictions of the backbone differ from those of its run."""
    warn_of_run(record, ("dataset", "backbone"))
    if precision != record.environment.precision:
        logger.warning(
            "the run used %s, but these predictions use %s; use --precision %s to predict as in "
            "the run",
            record.environment.precision,
            precision,
            record.environment.precision,
        )


def baseline_predictions(predictor: BaselinePredictor, given: Texts) -> Iterator[Prediction]:
    """Predict with a baseline, in chunks."""
    for start in range(0, len(given.texts), PORTION_TEXTS):
        portion = given.texts[start : start + PORTION_TEXTS]
        for text, label in zip(portion, labels_of(predictor.predict(portion)), strict=True):
            yield Prediction(text, (), label_text(label, predictor.class_names))
    if not given.texts:
        logger.warning("no texts to classify")


def predictions_of(
    predictor: Predictor, given: Texts, clock: Callable[[], float] = time.monotonic
) -> Iterator[Prediction]:
    """Predict in chunks; log the progress, and finally the number of truncated texts."""
    count = len(given.texts)
    cut = 0
    last_line = clock()
    for start in range(0, count, PORTION_TEXTS):
        portion = given.texts[start : start + PORTION_TEXTS]
        cut += predictor.truncated(portion)
        rows = predictor.predict(portion, start + 1)
        for text, row, label in zip(portion, rows, labels_of(predictor.labels(rows)), strict=True):
            predicted = label_text(label, predictor.class_names)
            yield Prediction(text, tuple(row.tolist()), predicted)
        if clock() - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = clock()
            logger.info("classified %s of %s texts", f"{start + len(portion):,}", f"{count:,}")
    if cut:
        logger.warning(
            "%d of %d texts were longer than the %d tokens of training and were truncated",
            cut,
            count,
            predictor.max_length,
        )
    if not count:
        logger.warning("no texts to classify")
