"""``clsbench run``: run an experiment and show the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from clsbench.cli.errors import INTERRUPTED, report_error
from clsbench.cli.experiments import resolve_named
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import (
    EXPERIMENT,
    chosen_changes,
    experiment_argument,
    panels,
    parse_seeds,
    run_options,
    spec_changes,
)
from clsbench.cli.session import Session, chosen_run_options
from clsbench.cli.termination import TERMINATED, handling_termination
from clsbench.errors import ClsbenchError, UsageError
from clsbench.schema.record import RunNotStoredError

if TYPE_CHECKING:
    from clsbench.analysis.figures import ShownMetrics
    from clsbench.analysis.seeds import SeedSummary
    from clsbench.components.catalog import Catalog
    from clsbench.experiment.run import FinishedRun


@click.command("run", cls=JsonCommand)
@panels
@experiment_argument()
@spec_changes
@click.option(
    "--seeds",
    metavar="SEED,SEED,…",
    callback=parse_seeds,
    help="Run once per seed and report mean and spread. The split stays the same.",
    panel=EXPERIMENT,
)
@run_options()
@click.option("--dry-run", is_flag=True, help="Prepare data and count parameters without training.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as one JSON object.")
@click.pass_context
def run_experiment(
    ctx: click.Context, experiment: str, seeds: tuple[int, ...], dry_run: bool, as_json: bool
) -> None:
    """Run an experiment: fine-tune, evaluate, store and show the result.

    clsbench list shows the available components.

    Exit codes: 0: success; 2: invalid request; 3: a required file is unavailable; 130: interrupted,
    143: terminated (partial results are kept); 1: any other error. With --json, stdout holds one
    JSON object in each of these cases.

    \b
    clsbench run gpt2-sms-spam --offline      stand-ins replace missing files
    clsbench run gpt2-sms-spam --assets DIR   data and weights from a folder
    clsbench run gpt2-sms-spam --dry-run      show the plan without training
    clsbench run gpt2-sms-spam --freezing last-blocks:n=2 --pooling mean
    clsbench run gpt2-sms-spam --set train.lr=1e-4 --seeds 123,124,125
    clsbench run mine.toml --device cuda:1 --precision bf16
    """
    terminated = ctx.with_resource(handling_termination())
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    changes = chosen_changes(ctx)
    if seeds and "seed" in changes:
        raise UsageError("--seeds and --set seed=… cannot be combined")

    catalog = session.catalog()
    variants = [{**changes, "seed": seed} for seed in seeds] or [changes]
    experiments = resolve_named(experiment, variants, catalog)

    from clsbench.cli.display.run import choose_display
    from clsbench.cli.output import only_results_on_stdout

    finished: list[FinishedRun] = []
    try:
        for resolved in experiments:
            display = choose_display(show_plan=not dry_run, quiet=session.quiet)
            with only_results_on_stdout(), display.showing():
                # Only after the command line is checked, since importing torch takes seconds.
                from clsbench.experiment.run import run_experiment as run_one

                observers = () if session.quiet else (display,)
                run = run_one(resolved, options, catalog, observers, dry_run, display.downloads)
            finished.append(run)
            if run.record.status == "interrupted":
                break
    except (ClsbenchError, KeyboardInterrupt) as error:  # between two seeds, or at the very end
        if isinstance(error, RunNotStoredError):
            from clsbench.experiment.run import FinishedRun

            finished.append(FinishedRun(error.record, None))
        if finished:
            _write_results(ctx, finished, as_json, len(experiments) > 1, catalog)
        raise
    _write_results(ctx, finished, as_json, len(experiments) > 1, catalog)
    ctx.exit(TERMINATED if terminated else _exit_code(finished))


def _write_results(
    ctx: click.Context,
    finished: Sequence[FinishedRun],
    as_json: bool,
    several: bool,
    catalog: Catalog,
) -> None:
    """Write the result to stdout; errors and the path of partial results to stderr."""
    from clsbench.analysis.figures import shown_metrics

    metrics = shown_metrics(catalog, [run.record for run in finished])
    if as_json:
        plain = [_plain(run) for run in finished]
        summary = _summary(finished, metrics) if several else None
        write_result(ctx, {"runs": plain, "summary": summary} if several else plain[0])
    else:
        _print_results(ctx, finished, several, metrics)
    for run in finished:
        if run.record.status in ("interrupted", "failed"):
            kept = f"; partial results are kept in {run.path}" if run.path is not None else ""
            report_error(f"{run.record.error}{kept}")


def _print_results(
    ctx: click.Context, finished: Sequence[FinishedRun], several: bool, metrics: ShownMetrics
) -> None:
    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.run import print_dry_run, print_run, print_seeds

    console = Console()
    for run in finished:
        if run.record.status == "planned":
            print_dry_run(console, run.record)
        else:
            print_run(console, run.record, metrics, run.path)
    if several and any(run.record.status != "planned" for run in finished):
        print_seeds(console, _summary(finished, metrics), metrics)
    _print_next_steps(ctx, finished, metrics)


def _print_next_steps(
    ctx: click.Context, finished: Sequence[FinishedRun], metrics: ShownMetrics
) -> None:
    from clsbench.cli.next_steps import write_next_steps
    from clsbench.report.terminal.headline import headline_of_runs
    from clsbench.results.store import StoredRun

    stored = [
        StoredRun(run.path, run.record)
        for run in finished
        if run.path is not None and run.record.status == "finished"
    ]
    if stored:
        found = headline_of_runs(stored, metrics)
        names = [run.path.name for run in stored]
        options = chosen_run_options(ctx)
        write_next_steps(ctx, options, found.sentence, found.contender, stored, names)


def _summary(finished: Sequence[FinishedRun], metrics: ShownMetrics) -> SeedSummary:
    from clsbench.analysis.seeds import summarize_seeds  # brings scipy

    return summarize_seeds([run.record for run in finished], metrics.all())


def _plain(run: FinishedRun) -> dict[str, Any]:
    """The record and its path; without history and metrics for a dry run."""
    import msgspec

    tree: dict[str, Any] = msgspec.to_builtins(run.record)
    if run.record.status == "planned":
        del tree["history"], tree["metrics"]
    return {**tree, "path": str(run.path) if run.path is not None else None}


def _exit_code(finished: Sequence[FinishedRun]) -> int:
    statuses = {run.record.status for run in finished}
    if "interrupted" in statuses:
        return INTERRUPTED
    return 1 if "failed" in statuses else 0
