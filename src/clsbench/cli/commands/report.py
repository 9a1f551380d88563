"""``clsbench report``: a report on a suite or on several runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import rich_click as click

from clsbench.cli.commands.compare import finished_ones
from clsbench.cli.completion import complete_report
from clsbench.cli.json_command import JsonCommand
from clsbench.cli.options import (
    PLOT_HELP,
    PlotType,
    check_guard_formulas,
    chosen_form,
    guard_formulas_option,
    json_option,
    metric_option,
    output_option,
    panels,
    run_options,
)
from clsbench.cli.session import Session, chosen_run_options
from clsbench.errors import UsageError

if TYPE_CHECKING:
    from clsbench.analysis.suite_figures import SuiteFigures
    from clsbench.report.page.files import Format
    from clsbench.results.suite_results import SuiteResults

logger = logging.getLogger(__name__)

FORMATS = ("html", "markdown", "csv", "latex")
DEFAULT_FILE = Path("report.html")
_MOST_RUNS = 60
"""The limit if no run is named, since each is compared with all others."""


@click.command("report", cls=JsonCommand)
@panels
@click.argument(
    "runs",
    nargs=-1,
    metavar="[SUITE|RUN]…",
    shell_complete=complete_report,
    help="A suite with stored results, or stored runs as in clsbench compare (default: the "
    "most recent suite, else the finished runs that share the most common test texts).",
)
@output_option(f"File to write (default: {DEFAULT_FILE}; formats other than html: stdout).")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="html: the whole report; markdown: the answer and the table; csv (full precision) and "
    "latex: the table (default: from the extension of --output, else html).",
)
@json_option
@click.option("--plot", "plot_file", type=PlotType(), help=PLOT_HELP)
@guard_formulas_option
@metric_option
@run_options("out", "assets")
@click.pass_context
def report(
    ctx: click.Context,
    runs: tuple[str, ...],
    file: Path | None,
    form: str | None,
    as_json: bool,
    plot_file: Path | None,
    guard_formulas: bool,
    metric: str | None,
) -> None:
    """Write a report on a suite or on several runs: which row is best, and its cost.

    The HTML page is self-contained (no network access, light and dark mode). It shows the answer in
    words, accuracy against training time, a table with intervals, tests and baselines, curves,
    confusion matrices, misclassified texts, calibration, times, and the command for each row.

    \b
    clsbench report                                     the most recent suite
    clsbench report gpt2-sms-spam-ablation -o ablation.html
    clsbench report runs/*-gpt2-sms-spam-* --format markdown
    clsbench report --output table.tex
    clsbench report --metric macro-f1
    """
    options = chosen_run_options(ctx)

    from clsbench.report.page.files import ENDINGS

    chosen = cast("Format", chosen_form(form, as_json, file, ENDINGS, "html"))
    check_guard_formulas(guard_formulas, chosen)
    session = ctx.find_object(Session) or Session()

    from clsbench.analysis.suite_figures import suite_figures
    from clsbench.cli.output import only_results_on_stdout, write_data, write_file, writing
    from clsbench.report.page.files import report_text

    results = _results(options.out, runs)
    catalog = session.catalog()
    figures = suite_figures(results, options.out, catalog, metric)
    for problem in figures.problems:
        logger.warning("%s", problem)
    if plot_file is not None:
        from clsbench.report.plots.suite import save_suite_plot

        with writing(plot_file):
            save_suite_plot(figures, plot_file)
    texts = None
    record = next((row.record for row in figures.rows if row.record is not None), None)
    with only_results_on_stdout():
        if chosen == "html" and record is not None and figures.ranks is None:
            from clsbench.experiment.preparation import texts_of

            texts = texts_of(record, options, catalog)
        text = report_text(figures, chosen, catalog, texts, guard_formulas)
    if file is None and chosen != "html":
        write_data(text)
        return
    write_file(file or DEFAULT_FILE, text)
    _print_summary(file or DEFAULT_FILE, figures)


def _results(store: Path, names: Sequence[str]) -> SuiteResults:
    from clsbench.analysis.run_rows import rows_of_runs, with_predictions
    from clsbench.analysis.shared_texts import sharing_texts
    from clsbench.results.store import StoredRun, find_run, read_record, scan
    from clsbench.results.suite_results import latest_suite, read_suite_results, suites_of

    if len(names) == 1 and names[0] in suites_of(store):
        return read_suite_results(store, names[0])
    if names:
        try:
            paths = dict.fromkeys(find_run(store, name) for name in names)
        except UsageError as error:
            suites = suites_of(store)
            hint = f"; its suites: {', '.join(suites)}" if suites else ""
            raise UsageError(f"{error}{hint}") from None
        runs = [StoredRun(path, read_record(path)) for path in paths]
        return rows_of_runs(finished_ones(runs))
    suite = latest_suite(store)
    if suite is not None:
        return suite
    found = scan(store)
    for directory, reason in found.damaged:
        logger.warning("left out %s: %s", directory, reason)
    shared = with_predictions(sharing_texts(found.runs))
    if not shared:
        raise UsageError(
            f"nothing to report: {store} contains no suite and no finished run; create one with "
            "clsbench run EXPERIMENT, or select another folder with --out"
        )
    if len(shared) > _MOST_RUNS:
        logger.warning(
            "reporting the latest %d of %d runs that share their texts; name runs to report "
            "others", _MOST_RUNS, len(shared),
        )  # fmt: skip
        shared = sorted(shared, key=lambda run: run.record.created)[-_MOST_RUNS:]
    return rows_of_runs(shared)


def _print_summary(file: Path, figures: SuiteFigures) -> None:
    """Print a short answer and the path of the page."""
    from clsbench.report.page.answer import answer
    from clsbench.report.page.content import stand_ins
    from clsbench.report.terminal.console import Console

    console = Console(highlight=False)
    for replaced in stand_ins(figures):
        console.prose(f"STAND-IN: {replaced}; not the real experiment", "yellow")
    console.prose(answer(figures).headline, "bold")
    console.prose(f"report  {file}")
