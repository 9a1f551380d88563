"""``clsbench suite``: run several experiments that differ from a base, and compare them."""

from __future__ import annotations

import itertools
import logging
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from clsbench.cli.completion import complete_spec
from clsbench.cli.errors import INTERRUPTED, report_error
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.next_steps import write_next_steps
from clsbench.cli.options import (
    EXPERIMENT,
    PLOT_HELP,
    WHERE_AND_HOW,
    PlotType,
    chosen_changes,
    panels,
    run_options,
    spec_changes,
)
from clsbench.cli.output import write_message, writing
from clsbench.cli.session import Session, chosen_run_options
from clsbench.cli.sweep import Sweep, check_plotted
from clsbench.cli.termination import TERMINATED, handling_termination
from clsbench.cli.tune import tuned
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clsbench.components.catalog import Catalog
    from clsbench.results.suite_results import SuiteResults
    from clsbench.schema.options import RunOptions
    from clsbench.schema.suite import SuiteSpec
    from clsbench.suites.planned import SuitePlan

logger = logging.getLogger(__name__)

_MOST_SEEDS = 100


class _SeedsType(click.ParamType["int | tuple[int, ...]"]):
    """``5``: the number of seeds; ``123,124``: the seeds themselves."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, ...]:
        """Read the text."""
        try:
            seeds = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(
                f"{value!r} is neither a number of seeds nor a list such as 123,124,125", param, ctx
            )
        if len(seeds) > 1:
            if len(set(seeds)) < len(seeds):
                self.fail(f"{value!r} names a seed twice", param, ctx)
            if min(seeds) < 0:
                self.fail(f"{value!r}: a seed must be at least 0", param, ctx)
            return seeds
        if not 1 <= seeds[0] <= _MOST_SEEDS:
            self.fail(
                f"{value!r}: a single number is the number of seeds, 1 to {_MOST_SEEDS}; to select "
                f"one seed, write --set seed={seeds[0]}",
                param,
                ctx,
            )
        return seeds[0]


@click.command("suite", cls=JsonCommand)
@panels
@click.argument(
    "suite",
    metavar="SUITE|FILE.toml",
    shell_complete=complete_spec("suites"),
    help="A registered suite (clsbench list suites) or a TOML file with [[rows]]; with --sweep or "
    "--tune, also an experiment to vary.",
)
@click.option(
    "--rows",
    metavar="1-5,10",
    help="Run only these rows, by label.",
    panel=EXPERIMENT,
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=A,B,C",
    help="Vary a setting of an experiment, or of every row of a suite, one row per value; repeat "
    "for all combinations. A value that contains a comma stands in double quotes.",
    panel=EXPERIMENT,
)
@click.option(
    "--seeds",
    type=_SeedsType(),
    metavar="N|SEED,SEED,…",
    help="Run each row with N seeds, counted up from its own, or with these seeds; with --tune, "
    "repeat only the chosen trial of each row.",
    panel=EXPERIMENT,
)
@click.option(
    "--tune",
    "tunes",
    multiple=True,
    metavar="KEY=A,B,C",
    help="Tune each row over these values; the trial with the best validation score is the row. "
    "Repeat for further settings.",
    panel=EXPERIMENT,
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Number of trials of each row.",
    panel=EXPERIMENT,
)
@click.option(
    "--tuner",
    metavar="NAME[:OPTION=VALUE,…]",
    help="Tuner that proposes the trials (clsbench list tuners).  [default: random]",
    panel=EXPERIMENT,
)
@spec_changes
@click.option(
    "--executor",
    metavar="NAME[:OPTION=VALUE,…]",
    default="local",
    show_default=True,
    help="Executor that performs the runs (clsbench list executors).",
    panel=WHERE_AND_HOW,
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Maximum number of concurrent runs (default: chosen by the executor; local: 1).",
    panel=WHERE_AND_HOW,
)
@run_options()
@click.option("--force", is_flag=True, help="Rerun rows that have already finished.")
@click.option(
    "--dry-run", is_flag=True, help="Show the planned runs with estimated time and memory."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--plot", "plot_file", type=PlotType(), help=PLOT_HELP)
@click.pass_context
def suite(
    ctx: click.Context,
    suite: str,
    rows: str | None,
    sweeps: tuple[str, ...],
    seeds: int | tuple[int, ...] | None,
    tunes: tuple[str, ...],
    trials: int | None,
    tuner: str | None,
    executor: str,
    jobs: int | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    plot_file: Path | None,
) -> None:
    """Run several experiments that differ from a base, and compare them.

    Each row names an experiment; rows that resolve to the same experiment share its run. Finished
    runs are not repeated: an interrupted suite resumes where it stopped, and two invocations share
    the work. Options such as --backbone apply to every row that does not set them itself. Rows run
    earlier with the same options remain in the suite's report when --rows selects others.

    Exit codes: 0: success; 1: a row failed or cannot be run, for example because a file is missing
    (the other rows are run); 2: invalid request, also if the data do not allow the settings of a
    row (no row is run); 130: interrupted; 143: terminated.

    A suite file contains base = "gpt2-sms-spam" and one [[rows]] table per row, with
    title = "all layers" and changes = {freezing = "all", "train.lr" = 1e-5}; with [tune], tuner,
    trials and space = {"train.lr" = [1e-5, 1e-4]}, every row is tuned.

    \b
    clsbench suite gpt2-sms-spam-ablation --offline           with embedded stand-ins
    clsbench suite gpt2-sms-spam-ablation --rows 1-5,10 --backbone gpt2:weights=random
    clsbench suite gpt2-sms-spam --sweep freezing=all,head-only --sweep train.lr=1e-4,5e-5
    clsbench suite my-suite.toml --sweep data.train_size=16,64,256 --plot curves.svg
    clsbench suite my-suite.toml --sweep 'dataset="csv:path=a.csv","csv:path=b.csv"'
    clsbench suite my-suite.toml --seeds 5 --jobs 2
    clsbench suite my-suite.toml --tune train.lr=1e-5,1e-4,1e-3 --tune train.epochs=2,5 --trials 4
    clsbench suite gpt2-sms-spam-ablation --dry-run
    """
    terminated = ctx.with_resource(handling_termination())
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    for_all = chosen_changes(ctx)
    if seeds and "seed" in for_all:
        raise UsageError("--seeds and --set seed=… cannot be combined")
    catalog = session.catalog()
    spec = tuned(_suite(suite, sweeps, bool(tunes), catalog), tunes, trials, tuner)
    file = _file_of(suite, catalog)
    chosen = spec.chosen(rows) if rows is not None else spec.rows
    if plot_file is not None:
        check_plotted([spec.changes_of(row, for_all) for row in chosen])

    import msgspec

    from clsbench.cli.display.suite import choose_suite_display
    from clsbench.cli.output import only_results_on_stdout
    from clsbench.components.chosen import make_component
    from clsbench.components.outer_axes import Executor
    from clsbench.results.suite_results import read_suite_results

    made = make_component(executor, "executors", catalog)
    assert isinstance(made, Executor)
    made.check_available()
    display = choose_suite_display(session.quiet)
    interrupted = False
    with only_results_on_stdout(), display.showing():
        # Only after the command line is checked, since importing torch takes seconds.
        from clsbench.results.store import check_store_writable
        from clsbench.suites.plan import plan_suite
        from clsbench.suites.run import run_suite

        if not dry_run:
            check_store_writable(options.out.absolute())
        plan = plan_suite(
            spec, chosen, for_all, seeds or 1, options, catalog, display.planning, file, force
        )
        if not dry_run:
            for warning in plan.warnings():
                logger.warning("%s", warning)
            for row in (row for row in plan.rows if row.problem):
                logger.warning("row %s cannot be run: %s", row.row.label, row.problem)
            try:
                results = run_suite(
                    plan, made, options, jobs, display, _command(session.plugins), force
                )
            except KeyboardInterrupt:
                kept, interrupted = read_suite_results(options.out, spec.name), True
                rows_chosen = {each.label for each in chosen}
                those = tuple(each for each in kept.rows if each.label in rows_chosen)
                results = msgspec.structs.replace(kept, rows=those)
    if dry_run:
        from clsbench.suites.tuning import with_stored

        plan = plan if force else with_stored(plan, options.out)[0]
        _write_plan(ctx, plan, options, as_json, file, force)
        ctx.exit(1 if any(row.problem for row in plan.rows) else 0)
    _write_results(ctx, results, options, as_json, file, catalog)
    if plot_file is not None:
        from clsbench.analysis.suite_figures import suite_figures
        from clsbench.report.plots.suite import save_suite_plot

        with writing(plot_file):
            save_suite_plot(suite_figures(results, options.out, catalog), plot_file)
    if interrupted:
        report_error("interrupted; run the same command again to resume")
        ctx.exit(TERMINATED if terminated else INTERRUPTED)
    failed = any(row.errors for row in results.rows)
    ctx.exit(TERMINATED if terminated else 1 if failed else 0)


def _command(plugins: Sequence[str]) -> list[str]:
    """The command that repeats the suite, including plugins named in the environment. Without
    ``--rows``, since the rows of several invocations may form one table."""
    given = [
        word
        for before, word in itertools.pairwise(sys.argv)
        if before != "--rows" and word != "--rows" and not word.startswith("--rows=")
    ]
    from_environment = [p for p in plugins if p not in given and f"--plugin={p}" not in given]
    return ["clsbench", *(w for p in from_environment for w in ("--plugin", p)), *given]


def _suite(name: str, sweeps: tuple[str, ...], tuning: bool, catalog: Catalog) -> SuiteSpec:
    """A suite, an experiment or a suite with every combination of the swept values, or an
    experiment to be tuned as a suite of one row."""
    from clsbench.components.resolve import find_spec, find_suite, is_suite
    from clsbench.schema.suite import sweep, sweep_rows

    if not sweeps and tuning and not is_suite(name, catalog):
        return sweep(name, (), find_spec(name, catalog).name)
    if not sweeps:
        if name in catalog.entries["experiments"] and name not in catalog.entries["suites"]:
            raise UsageError(
                f"{name} is an experiment, not a suite; vary it with --sweep KEY=A,B, tune it with "
                "--tune KEY=A,B, or run it with clsbench run"
            )
        return find_suite(name, catalog)
    suite = find_suite(name, catalog) if is_suite(name, catalog) else None
    if suite is None:
        find_spec(name, catalog)
    chosen = [Sweep(text) for text in sweeps]
    axes = [(axis.key, [parse_value(value) for value in axis.values]) for axis in chosen]
    return sweep(name, axes) if suite is None else sweep_rows(suite, axes, name)


def _write_plan(
    ctx: click.Context,
    plan: SuitePlan,
    options: RunOptions,
    as_json: bool,
    file: str,
    force: bool,
) -> None:
    from clsbench.results.store import finished_run

    stored = {key for key in plan.runs() if finished_run(options.out, key) is not None}
    if as_json:
        import msgspec

        write_result(
            ctx,
            {
                "suite": plan.suite.name,
                "trials": plan.tuning.trials if plan.tuning is not None else None,
                "rows": [
                    {
                        "label": row.row.label,
                        "changes": row.changes,
                        "modified": row.modified,
                        "problem": row.problem,
                        "not_applicable": row.not_applicable,
                        "estimate": row.estimate,
                        "runs": [
                            {
                                "run_key": run.key,
                                "seed": run.spec["seed"],
                                "stored": run.key in stored,
                                "parameters": msgspec.to_builtins(run.record.parameters),
                                "memory_bytes_expected": run.record.memory_bytes_expected,
                            }
                            for run in row.all_runs()
                        ],
                        "trials": [trial.point for trial in row.trials],
                    }
                    for row in plan.rows
                ],
            },
        )
        return
    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.suite import print_suite_plan

    print_suite_plan(Console(), plan, stored, file, force)


def _file_of(name: str, catalog: Catalog) -> str:
    """The prefix of messages about a row: the file of the suite, if it has one."""
    from clsbench.components.resolve import is_suite

    return f"{name}: " if name not in catalog.entries["suites"] and is_suite(name, catalog) else ""


def _write_results(
    ctx: click.Context,
    results: SuiteResults,
    options: RunOptions,
    as_json: bool,
    file: str,
    catalog: Catalog,
) -> None:
    if as_json:
        from clsbench.analysis.suite_figures import suite_figures
        from clsbench.analysis.suite_table import plain_figures

        write_result(ctx, plain_figures(suite_figures(results, options.out, catalog)))
    else:
        from clsbench.report.page.answer import answer
        from clsbench.report.page.commands import train_command
        from clsbench.report.terminal.console import Console
        from clsbench.report.terminal.suite import print_suite
        from clsbench.results.suite_results import read_suite_results

        figures = print_suite(Console(), results, options.out, catalog)
        more = len(read_suite_results(options.out, results.name).rows) - len(results.rows)
        if more > 0:
            rows = "1 more row was" if more == 1 else f"{more} more rows were"
            write_message(f"{rows} run earlier; clsbench report {results.name} shows all")
        runs = [run for row in figures.rows for run in row.runs]
        reply = answer(figures)
        write_next_steps(
            ctx,
            options,
            reply.headline,
            reply.recommended,
            runs,
            [results.name],
            reply.costs,
            train_command(figures, reply.recommended, catalog),
        )
    for row in results.rows:
        for error in row.errors:
            report_error(f"{file}row {row.label} ({row.title}): {error}")
