"""``clsbench suite``: many experiments that differ from a base, run and set side by side."""

from __future__ import annotations

import itertools
import logging
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from clsbench.cli.completion import complete_suite
from clsbench.cli.errors import INTERRUPTED, report_error
from clsbench.cli.json_command import JsonCommand, tell_json
from clsbench.cli.next_steps import write_next_steps
from clsbench.cli.options import (
    EXPERIMENT,
    WHERE_AND_HOW,
    chosen_changes,
    panels,
    run_options,
    spec_changes,
)
from clsbench.cli.output import write_message
from clsbench.cli.session import Session, chosen_run_options
from clsbench.cli.sweep import Sweep
from clsbench.cli.termination import TERMINATED, handling_termination
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clsbench.components.catalog import Catalog
    from clsbench.results.suite_results import SuiteResults
    from clsbench.schema.options import RunOptions
    from clsbench.schema.suite import SuiteSpec
    from clsbench.suites.run import SuitePlan

logger = logging.getLogger(__name__)

_MOST_SEEDS = 100


class _SeedsType(click.ParamType["int | tuple[int, ...]"]):
    """``5``: as many seeds; ``123,124``: these."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, ...]:
        """Read the text."""
        try:
            seeds = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no number of seeds and no list 123,124,125", param, ctx)
        if len(seeds) > 1:
            if len(set(seeds)) < len(seeds):
                self.fail(f"{value!r} names a seed twice", param, ctx)
            if min(seeds) < 0:
                self.fail(f"{value!r}: a seed is 0 or more", param, ctx)
            return seeds
        if not 1 <= seeds[0] <= _MOST_SEEDS:
            self.fail(
                f"{value!r}: a single number is how many seeds to take, 1 to {_MOST_SEEDS}; to "
                f"name one seed, write --set seed={seeds[0]}",
                param,
                ctx,
            )
        return seeds[0]


@click.command("suite", cls=JsonCommand)
@panels
@click.argument(
    "suite",
    metavar="SUITE|FILE.toml",
    shell_complete=complete_suite,
    help="A registered suite (clsbench list suites) or a TOML file with [[rows]]; with --sweep the "
    "experiment to vary.",
)
@click.option(
    "--rows",
    metavar="1-5,10",
    help="Only these rows, by label.",
    panel=EXPERIMENT,
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=A,B,C",
    help="Make a suite of an experiment: a row for each value; given again, for each combination.",
    panel=EXPERIMENT,
)
@click.option(
    "--seeds",
    type=_SeedsType(),
    metavar="N|SEED,SEED,…",
    help="Run each row with so many seeds, counted up from its own, or with these.",
    panel=EXPERIMENT,
)
@spec_changes
@click.option(
    "--executor",
    metavar="NAME[:OPTION=VALUE,…]",
    default="local",
    show_default=True,
    help="Where the runs are done (clsbench list executors).",
    panel=WHERE_AND_HOW,
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="How many runs side by side (default: as the executor sees fit; local: 1).",
    panel=WHERE_AND_HOW,
)
@run_options()
@click.option("--force", is_flag=True, help="Run what is finished in the store again.")
@click.option(
    "--dry-run", is_flag=True, help="Show what would be run, how long and in how much memory."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def suite(
    ctx: click.Context,
    suite: str,
    rows: str | None,
    sweeps: tuple[str, ...],
    seeds: int | tuple[int, ...] | None,
    executor: str,
    jobs: int | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run several experiments that differ from a base, and compare them.

    A row is a label for an experiment; rows that come to the same experiment share its run. What is
    finished in the store is not run again, so that a suite that was ended in whatever way goes on
    where it was, and two invocations share the work. Options such as --backbone hold for every row,
    unless the row itself says otherwise. Rows that were run before with the same options stay in
    the suite's report when --rows chooses others.

    Exit codes: 0; 1 a row failed or cannot be run, for want of an asset, say (the others are run);
    2 what was asked for is wrong; 130 interrupted, 143 terminated.

    A file says base = "gpt2-sms-spam" and, row by row, [[rows]] with title = "all layers" and
    changes = {freezing = "all", "train.lr" = 1e-5}.

    \b
    clsbench suite gpt2-sms-spam-ablation --offline           on embedded stand-ins
    clsbench suite gpt2-sms-spam-ablation --rows 1-5,10 --backbone gpt2:weights=random
    clsbench suite gpt2-sms-spam --sweep freezing=all,head-only --sweep train.lr=1e-4,5e-5
    clsbench suite my-suite.toml --seeds 5 --jobs 2
    clsbench suite gpt2-sms-spam-ablation --dry-run
    """
    terminated = ctx.with_resource(handling_termination())
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    for_all = chosen_changes(ctx)
    if seeds and "seed" in for_all:
        raise UsageError("--seeds and --set seed=… exclude each other")
    catalog = session.catalog()
    spec = _suite(suite, sweeps, catalog)
    file = _file_of(suite, sweeps, catalog)
    chosen = spec.chosen(rows) if rows is not None else spec.rows

    import msgspec

    from clsbench.cli.display.suite import choose_suite_display
    from clsbench.cli.output import only_results_on_stdout
    from clsbench.components.axes import Executor
    from clsbench.components.resolve import make_component
    from clsbench.results.suite_results import read_suite_results

    made = make_component(executor, "executors", catalog)
    assert isinstance(made, Executor)
    made.check_available()
    display = choose_suite_display(session.quiet)
    interrupted = False
    with only_results_on_stdout(), display.showing():
        # Only now, since torch takes seconds and what was asked for makes sense.
        from clsbench.results.store import check_store_writable
        from clsbench.suites.run import plan_suite, run_suite

        if not dry_run:
            check_store_writable(options.out.absolute())
        plan = plan_suite(
            spec, chosen, for_all, seeds or 1, options, catalog, display.planning, file, force
        )
        if not dry_run:
            for warning in plan.warnings():
                logger.warning("%s", warning)
            display.planned(plan)
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
        _tell_plan(ctx, plan, options, as_json, file)
        ctx.exit(1 if any(row.problem for row in plan.rows) else 0)
    _tell_results(ctx, results, options, as_json, file)
    if interrupted:
        report_error("interrupted; the same command goes on where this one was")
        ctx.exit(TERMINATED if terminated else INTERRUPTED)
    failed = any(row.errors for row in results.rows)
    ctx.exit(TERMINATED if terminated else 1 if failed else 0)


def _command(plugins: Sequence[str]) -> list[str]:
    """What repeats the suite elsewhere, plugins that the environment names included; without the
    choice of rows, since those of several times may become one table."""
    given = [
        word
        for before, word in itertools.pairwise(sys.argv)
        if before != "--rows" and word != "--rows" and not word.startswith("--rows=")
    ]
    from_environment = [p for p in plugins if p not in given and f"--plugin={p}" not in given]
    return ["clsbench", *(w for p in from_environment for w in ("--plugin", p)), *given]


def _suite(name: str, sweeps: tuple[str, ...], catalog: Catalog) -> SuiteSpec:
    from clsbench.components.resolve import find_spec, find_suite
    from clsbench.schema.suite import sweep

    if not sweeps:
        if name in catalog.entries["experiments"] and name not in catalog.entries["suites"]:
            raise UsageError(
                f"{name} is an experiment, not a suite: make one of it by --sweep KEY=A,B, or run "
                "it by clsbench run"
            )
        return find_suite(name, catalog)
    find_spec(name, catalog)
    axes = [Sweep(text) for text in sweeps]
    return sweep(name, [(axis.key, [parse_value(v) for v in axis.values]) for axis in axes])


def _tell_plan(
    ctx: click.Context, plan: SuitePlan, options: RunOptions, as_json: bool, file: str
) -> None:
    from clsbench.results.store import finished_run

    stored = {key for key in plan.runs() if finished_run(options.out, key) is not None}
    if as_json:
        import msgspec

        tell_json(
            ctx,
            {
                "suite": plan.suite.name,
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
                            for run in row.runs
                        ],
                    }
                    for row in plan.rows
                ],
            },
        )
        return
    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.suite import print_suite_plan

    print_suite_plan(Console(), plan, stored, file)


def _file_of(name: str, sweeps: tuple[str, ...], catalog: Catalog) -> str:
    """The prefix of messages about a row: the suite's file, if it comes from one."""
    return "" if sweeps or name in catalog.entries["suites"] else f"{name}: "


def _tell_results(
    ctx: click.Context, results: SuiteResults, options: RunOptions, as_json: bool, file: str
) -> None:
    if as_json:
        from clsbench.analysis.suite_figures import suite_figures
        from clsbench.analysis.suite_table import plain_figures

        tell_json(ctx, plain_figures(suite_figures(results, options.out)))
    else:
        from clsbench.report.page.answer import answer
        from clsbench.report.terminal.console import Console
        from clsbench.report.terminal.headline import suite_headline
        from clsbench.report.terminal.suite import print_suite
        from clsbench.results.suite_results import read_suite_results

        figures = print_suite(Console(), results, options.out)
        more = len(read_suite_results(options.out, results.name).rows) - len(results.rows)
        if more > 0:
            write_message(
                f"{more} more rows were run before; clsbench report {results.name} shows all"
            )
        found = suite_headline(figures)
        runs = [run for row in figures.rows for run in row.runs]
        best = found.contender if found is not None else None
        write_next_steps(ctx, options, answer(figures).headline, best, runs, [results.name])
    for row in results.rows:
        for error in row.errors:
            report_error(f"{file}row {row.label} ({row.title}): {error}")
