"""``clsbench compare``: which of several runs are significantly better."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from clsbench.cli.completion import complete_run
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import PlotType, metric_option, panels, run_options
from clsbench.cli.output import writing
from clsbench.cli.session import Session, chosen_run_options
from clsbench.errors import UsageError

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.components.values import Text
    from clsbench.results.store import StoredRun
    from clsbench.schema.options import RunOptions
    from clsbench.schema.record import RunRecord

logger = logging.getLogger(__name__)


@click.command("compare", cls=JsonCommand)
@panels
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    shell_complete=complete_run,
    help="Stored runs: names, prefixes of names, directories, or latest. Runs that differ only in "
    "their seed are grouped.",
)
@click.option(
    "--texts",
    "most_texts",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Number of texts to show on which the runs disagree.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the complete result as one JSON object."
)
@click.option(
    "--plot",
    "plot_file",
    type=PlotType(),
    help="Plot calibration, accuracy by confidence (.svg, .pdf or .png).",
)
@metric_option
@run_options("out", "assets")
@click.pass_context
def compare(
    ctx: click.Context,
    runs: tuple[str, ...],
    metric: str | None,
    most_texts: int,
    as_json: bool,
    plot_file: Path | None,
) -> None:
    """Compare stored runs and their baselines with paired tests.

    Two single runs are compared by McNemar's exact test on the texts that exactly one of them
    classifies correctly; several seeds by a test that accounts for both texts and seeds; another
    metric than the accuracy by each text's contribution to it. p-values are Holm-corrected over all
    pairs. Ranks are the range consistent with the tests. The primary metric has 95 % intervals.

    \b
    clsbench compare latest 20251121T101729Z
    clsbench compare runs/*-gpt2-sms-spam-* --texts 20    all runs of an experiment
    clsbench compare latest --plot reliability.svg     against its baselines
    clsbench compare latest --metric macro-f1
    """
    options = chosen_run_options(ctx)

    from clsbench.analysis.comparison import compare_runs
    from clsbench.analysis.figures import shown_metrics
    from clsbench.results.store import StoredRun, find_run, read_record

    paths = dict.fromkeys(find_run(options.out, name) for name in runs)
    if len(paths) < len(runs):
        logger.warning("a run is named more than once; it is compared once")
    stored = finished_ones([StoredRun(path, read_record(path)) for path in paths])
    catalog = (ctx.find_object(Session) or Session()).catalog()
    metrics = shown_metrics(catalog, [run.record for run in stored], metric)
    comparison = compare_runs(stored, metrics=metrics)
    compared = {run for each in comparison.contenders for run in each.runs}
    for run in stored:
        if run.path.name not in compared:
            logger.warning("left out %s: it repeats another run with the same seed", run.path.name)
    if as_json:
        write_result(ctx, comparison)
    else:
        from clsbench.report.terminal.comparison import print_comparison
        from clsbench.report.terminal.console import Console

        texts = _texts(stored[0].record, options, catalog) if most_texts else None
        print_comparison(Console(), comparison, metrics, texts, most_texts)
    if plot_file is not None:
        from clsbench.report.plots.reliability import save_reliability

        with writing(plot_file):
            save_reliability(comparison, plot_file)


def finished_ones(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The finished runs; warns of the others, unless all are unfinished, and of unequal tuning.

    A pattern such as ``runs/*-gpt2-sms-spam-*`` also matches interrupted runs, and trials that a
    tuned row did not choose: choosing among those by their test figures would be cheating.

    Raises:
        UsageError: all runs are such trials.
    """
    from clsbench.results.suite_results import trials_not_chosen, trials_of_rows

    trials = {
        folder: trials_not_chosen(folder)
        for folder in dict.fromkeys(run.path.absolute().parent for run in runs)
    }
    others = []
    for run in runs:
        suite = trials[run.path.absolute().parent].get(run.path.name)
        if suite is None:
            others.append(run)
            continue
        logger.warning("left out %s: a trial of suite %s that was not chosen", run.path.name, suite)
    if runs and not others:
        raise UsageError(
            "there is nothing to compare: all runs are trials of a tuned suite that were not "
            "chosen; clsbench report SUITE shows the chosen ones"
        )
    runs = others
    tuned = {folder: trials_of_rows(folder) for folder in trials}
    counts = {tuned[run.path.absolute().parent].get(run.path.name, 1) for run in runs}
    if len(counts) > 1:
        logger.warning(
            "these runs were chosen from different numbers of trials (%s), so their differences "
            "may be those of tuning; clsbench suite --tune gives each row the same number",
            ", ".join(map(str, sorted(counts))),
        )
    finished = [run for run in runs if run.record.status == "finished"]
    if not finished:
        return list(runs)
    for run in runs:
        if run.record.status != "finished":
            logger.warning("left out %s: it is %s", run.path.name, run.record.status)
    return finished


def _texts(record: RunRecord, options: RunOptions, catalog: Catalog) -> Mapping[int, Text] | None:
    """The test texts by row, or ``None`` if the corpus is not on this machine."""
    from clsbench.experiment.preparation import texts_of

    return texts_of(record, options, catalog)
