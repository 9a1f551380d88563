"""``clsbench results``: list stored runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.core import ParameterSource

from clsbench.cli.json_command import JsonCommand
from clsbench.cli.options import (
    check_guard_formulas,
    chosen_form,
    guard_formulas_option,
    json_option,
    metric_option,
    output_option,
    run_options,
)
from clsbench.cli.output import write_data, write_file, write_message
from clsbench.cli.session import Session, chosen_run_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from clsbench.results.store import StoredRun

FORMATS = ("csv", "markdown", "latex")
ENDINGS = {".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex"}


@click.command("results", cls=JsonCommand)
@click.option(
    "--sort",
    metavar="COLUMN,…",
    help="Sort by these columns; -test_accuracy sorts in descending order (default: oldest first).",
)
@click.option(
    "--columns",
    metavar="COLUMN,…|all",
    help="Show these columns (default: a few; CSV and JSON: all).",
)
@click.option(
    "--where",
    metavar="EXPRESSION",
    help="Show only runs that match: \"test_accuracy > 0.9 and freezing == 'all'\"; "
    "'size=small' in backbone matches part of a text.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="csv (full precision), markdown or latex (default: from the extension of --output, else a "
    "table for the terminal).",
)
@json_option
@output_option("File to write instead of stdout (.csv, .json, .md or .tex).")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Maximum number of runs in the table (the last ones, or with --sort the first); 0 shows "
    "all. Other formats include all runs.",
)
@click.option(
    "--trials", is_flag=True, help="Also list the trials that tuned suites have not chosen."
)
@guard_formulas_option
@metric_option
@run_options("out")
@click.pass_context
def results(
    ctx: click.Context,
    sort: str | None,
    columns: str | None,
    where: str | None,
    form: str | None,
    as_json: bool,
    file: Path | None,
    limit: int,
    trials: bool,
    guard_formulas: bool,
    metric: str | None,
) -> None:
    """List stored runs, one per row.

    \b
    clsbench results --sort -test_accuracy
    clsbench results --columns all -o runs.csv
    clsbench results --json | jq '.[].test_accuracy'
    clsbench results --where "freezing == 'all' and stand_ins == ''"
    clsbench results --metric roc-auc --sort -test_roc_auc
    """
    form = chosen_form(form, as_json, file, ENDINGS, "table")
    check_guard_formulas(guard_formulas, form)

    from clsbench.analysis.computed import with_computed_metric
    from clsbench.analysis.results_table import default_columns, load_runs, results_table
    from clsbench.components.resolve import make_metric
    from clsbench.report.terminal.layout import left_out_note
    from clsbench.results.query import choose_columns, sort_by
    from clsbench.results.query import where as rows_where
    from clsbench.results.store import collector_paused

    ctx.with_resource(collector_paused())
    store = chosen_run_options(ctx).out
    named = ctx.get_parameter_source("out") != ParameterSource.DEFAULT
    runs = load_runs(store if named else None)
    with_trials = len(runs)
    if not trials:  # choosing among them by their test figures would be cheating
        runs = _without_trials(runs)
    fitting = in_store = len(runs)
    if form == "table" and limit and where is None and sort is None:
        runs = runs[-limit:]  # a table of thousands of runs would take seconds
    shown: list[str] = []
    if metric is not None:
        name, component = make_metric(metric, (ctx.find_object(Session) or Session()).catalog())
        runs, shown = with_computed_metric(runs, name, component), [name]
    table = results_table(runs)
    if where is not None:
        table = rows_where(table, where)
        fitting = len(table)
    if sort is not None:
        table = sort_by(table, _names(sort))
    left_out: list[str] = []
    if columns is not None and columns.strip() != "all":
        table = choose_columns(table, _names(columns))
    elif columns is None and form not in ("csv", "json"):
        width = _terminal_width() if form == "table" else None
        chosen = default_columns(table, width, shown)
        left_out = [name for name in default_columns(table, None, shown) if name not in chosen]
        table = table[chosen]
    if table.empty and form == "table":
        if in_store or not with_trials:  # else all runs were reported as left out
            _say_empty(str(store), in_store)
        return
    if form == "table":
        if limit:
            table = table.head(limit) if sort is not None else table.tail(limit)
        _print_table(table, marks=columns is None)
        if left_out:
            write_message(left_out_note(left_out, "--columns"), err=True)
        if len(table) < fitting:
            which = "first" if sort is not None else "last"
            note = f"the {which} {len(table):,} of {fitting:,} runs; --limit 0 shows all"
            write_message(note, err=True)
    else:
        text = _text(table, form, guard_formulas)
        if file is None:
            write_data(text)
        else:
            write_file(file, text)


def _without_trials(runs: Sequence[StoredRun]) -> tuple[StoredRun, ...]:
    """Without the trials of tuned suites that were not chosen; says how many they are."""
    from clsbench.results.suite_results import trials_not_chosen

    stores = dict.fromkeys(run.path.absolute().parent for run in runs)
    trials = {store: trials_not_chosen(store) for store in stores}
    kept = tuple(run for run in runs if run.path.name not in trials[run.path.absolute().parent])
    if len(kept) < len(runs):
        message = "left out %d of %d runs: trials that tuned suites have not chosen (see --trials)"
        write_message(message % (len(runs) - len(kept), len(runs)), err=True)
    return kept


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say_empty(store: str, in_store: int) -> None:
    if in_store:
        message = f"no run in {store} matches --where ({in_store} checked)"
    else:
        message = f"no runs in {store} yet; create one with clsbench run EXPERIMENT"
    write_message(message, err=True)


def _text(table: pd.DataFrame, form: str, guard_formulas: bool) -> str:
    from clsbench.results import formats

    if form == "csv":
        return formats.to_csv(table, guard_formulas)
    writers = {
        "json": formats.to_json,
        "markdown": formats.to_markdown,
        "latex": formats.to_latex,
    }
    return writers[form](table)


def _print_table(table: pd.DataFrame, marks: bool) -> None:
    """Fitted to a terminal; one line per run in a pipe."""
    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.listing import runs_table

    width = _terminal_width()
    console = Console(width=width or _UNFOLDED)
    console.print(runs_table(table, width, marks), highlight=False, crop=False)


_UNFOLDED = 100_000


def _terminal_width() -> int | None:
    """The width of the terminal in columns, or ``None`` if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
