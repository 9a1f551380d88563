"""``clsbench bench``: time the phases of an experiment and measure the machine's peak."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from clsbench.cli.errors import INTERRUPTED, report_error
from clsbench.cli.experiments import resolve_named
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import (
    FiniteRange,
    PlotType,
    chosen_changes,
    experiment_argument,
    output_option,
    panels,
    run_options,
    spec_changes,
)
from clsbench.cli.output import only_results_on_stdout, write_file, write_message, writing
from clsbench.cli.session import Session, chosen_run_options
from clsbench.cli.sweep import SHORT_AXES, Sweep
from clsbench.cli.termination import TERMINATED, handling_termination
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value

if TYPE_CHECKING:
    from clsbench.bench.run import BenchReport, Variant
    from clsbench.bench.sampling import Rules
    from clsbench.components.catalog import Catalog
    from clsbench.schema.options import RunOptions

NOT_MEASURED = "not measured"
_CIRCUMSTANCES = ("device", "precision", "threads")
"""Run options that --sweep accepts besides keys of the spec."""
_NOT_MEASURED_CODE = 4


@click.command(cls=JsonCommand)
@panels
@experiment_argument("gpt2-sms-spam")
@spec_changes
@run_options(*_CIRCUMSTANCES, "assets", "offline")
@click.option(
    "--phase",
    "phases",
    multiple=True,
    metavar="NAME",
    help="Measure only this phase (tokenize, forward, forward+backward, optimizer step, train "
    "step, prefix, cached train step, evaluation); repeatable.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=A,B,C",
    help="Measure for each value of a setting: batch=8,16,32 (texts per batch), tokens=64,120,256 "
    "(positions per text), freezing=all,head-only, any key of the spec, or device=cpu,cuda, "
    "precision=fp32,bf16, threads=1,2.",
)
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="A B",
    help="Time two variants alternately and report which is faster. A variant is a KEY=VALUE of "
    "EXPERIMENT's spec, another experiment or a TOML file. Differences below 5 % are not reported.",
)
@click.option(
    "--budget",
    type=FiniteRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds per phase. Sampling ends earlier once --precise is reached, and later only to "
    "collect six samples. 0: a trial, with samples too short to measure the load.",
)
@click.option(
    "--precise",
    type=FiniteRange(min=0, max=1, min_open=True),
    default=0.02,
    show_default=True,
    help="Target precision of the median: half the width of its 95 % interval, as a fraction.",
)
@click.option(
    "--load-limit",
    type=FiniteRange(min=0),
    default=0.15,
    show_default=True,
    envvar="CLSBENCH_LOAD_LIMIT",
    show_envvar=True,
    help="Drop samples during which other processes use more CPU cores than this.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, including raw samples."
)
@output_option("CSV file to write, one row per phase.")
@click.option(
    "--plot",
    "plot_file",
    type=PlotType(),
    help="Plot the times against the swept setting (.svg, .pdf or .png).",
)
@click.pass_context
def bench(
    ctx: click.Context,
    experiment: str,
    phases: tuple[str, ...],
    sweeps: tuple[str, ...],
    compared: tuple[str, str] | None,
    budget: float,
    precise: float,
    load_limit: float,
    as_json: bool,
    file: Path | None,
    plot_file: Path | None,
) -> None:
    """Time the phases of an experiment: tokenization, forward, backward, steps.

    One batch is timed, with texts from the shortest to the longest. Each phase is warmed up until
    its times are stable, then sampled until the median is precise enough or the budget is spent.
    Samples disturbed by other processes are dropped and counted. The peak performance of the
    machine is measured in the same run. Trained weights are discarded and nothing is stored.

    Exit codes: 0: success; 1: the device failed (results so far are shown); 2: invalid request; 3:
    a required file is unavailable; 4: a measurement failed (other processes interfered, A of
    --compare differs from itself, a phase ran out of memory or had a loss that is not finite, or
    the experiment lacks the phases); 130: interrupted (results so far are shown); 143: terminated.

    \b
    clsbench bench --offline
    clsbench bench gpt2-sms-spam --backbone gpt2:weights=random --phase "train step" --threads 2
    clsbench bench gpt2-sms-spam --offline --sweep tokens=32,64,128 --plot growth.svg
    clsbench bench gpt2-sms-spam --offline --sweep freezing=all,last-blocks,head-only --json
    clsbench bench gpt2-sms-spam --offline --phase forward --sweep precision=fp32,bf16
    clsbench bench gpt2-sms-spam --offline --compare pooling=mean pooling=max
    """
    terminated = ctx.with_resource(handling_termination())
    # Silence the log of torch's profiler, which counts memory.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    changes = chosen_changes(ctx)
    taken = {*changes, *(name for name in _CIRCUMSTANCES if _is_given(ctx, name))}
    sweep = _checked_sweep(sweeps, taken, compared is not None, file, plot_file)
    catalog = session.catalog()
    from clsbench.bench.phases import chosen_phases
    from clsbench.bench.sampling import Rules

    wanted = chosen_phases(phases)
    rules = Rules(
        precision=precise,
        budget_seconds=budget,
        sample_seconds=Rules().sample_seconds if budget else 0.0,
        load_limit_cores=load_limit,
    )
    if compared is not None:
        code = _compare(
            ctx, experiment, compared, changes, wanted, rules, options, catalog, as_json
        )
        ctx.exit(TERMINATED if terminated else code)
    from clsbench.bench.run import bench as measure_all

    if sweep is None:
        variants = _variants(experiment, [""], [changes], [options], catalog)
    else:
        settings = [{sweep.key: parse_value(value)} for value in sweep.values]
        if sweep.key in _CIRCUMSTANCES:
            everywhere = [chosen_run_options(ctx, **each) for each in settings]
            changed = [changes] * len(settings)
        else:
            everywhere = [options] * len(settings)
            changed = [{**changes, **each} for each in settings]
        variants = _variants(experiment, sweep.values, changed, everywhere, catalog)
    with (
        only_results_on_stdout(),
        _PhaseDisplay(session.quiet, len(wanted) * len(variants)) as display,
    ):
        report = measure_all(
            variants, sweep.key if sweep else None, wanted, rules, catalog, display.phase_started
        )
    _show(ctx, report, as_json, file, plot_file)
    if report.status == "interrupted":
        report_error("interrupted; showing the results so far")
        ctx.exit(TERMINATED if terminated else INTERRUPTED)
    if report.error is not None:
        report_error(f"{report.error}; showing the results so far")
        ctx.exit(1)
    failed = [(point.value, each) for point in report.points for each in point.failed]
    for value, each in failed:
        report_error(f"{each.phase}{f' of {value}' if value else ''} failed: {each.reason}")
    missing = [m.phase for p in report.points for m in p.measurements if m.seconds is None]
    if missing:
        report_error(
            f"not measured: {', '.join(dict.fromkeys(missing))}: too few undisturbed samples; "
            "try again on a quieter machine, with a larger --budget or a higher --load-limit"
        )
    if not report.measured_anything():
        file_text = f"; {plot_file} is not written" if plot_file is not None else ""
        report_error(f"nothing was measured{file_text}")
        ctx.exit(_NOT_MEASURED_CODE)
    if missing or failed:
        ctx.exit(_NOT_MEASURED_CODE)


def _variants(
    experiment: str,
    values: Sequence[str],
    changes: Sequence[Mapping[str, Any]],
    options: Sequence[RunOptions],
    catalog: Catalog,
) -> list[Variant]:
    from clsbench.bench.run import Variant

    experiments = resolve_named(experiment, changes, catalog)
    return [Variant(*each) for each in zip(values, experiments, options, strict=True)]


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _compare(
    ctx: click.Context,
    experiment: str,
    compared: tuple[str, str],
    changes: Mapping[str, Any],
    phases: Sequence[str],
    rules: Rules,
    options: RunOptions,
    catalog: Catalog,
    as_json: bool,
) -> int:
    from clsbench.bench.compare import compare
    from clsbench.report.terminal.bench import print_comparison
    from clsbench.report.terminal.console import Console

    if _is_given(ctx, "experiment") and not any("=" in text for text in compared):
        raise UsageError(
            f"{experiment} is not among the compared {' and '.join(compared)}: leave it out, or "
            "compare a KEY=VALUE of it"
        )
    variants = []
    for text in compared:
        key, equals, value = text.partition("=")
        key = SHORT_AXES.get(key, key)
        if equals and key in changes:
            raise UsageError(f"{key} is both set and compared")
        if equals and key in _CIRCUMSTANCES:
            raise UsageError(
                f"{key} cannot differ between the compared variants: write --sweep {key}=A,B, or "
                f"--{key} {value or 'A'} for both"
            )
        changed = {**changes, key: parse_value(value)} if equals else changes
        named = experiment if equals else text
        variants += _variants(named, [text], [changed], [options], catalog)
    session = ctx.find_object(Session) or Session()
    with only_results_on_stdout(), _PhaseDisplay(session.quiet, len(phases)) as display:
        report = compare(variants[0], variants[1], phases, rules, catalog, display.phase_started)
    if as_json:
        write_result(ctx, report)
    else:
        print_comparison(Console(), report)
    if report.status == "interrupted":
        report_error("interrupted; showing the results so far")
        return INTERRUPTED
    if report.error is not None:
        report_error(f"{report.error}; showing the results so far")
        return 1
    for each in report.failed:
        report_error(f"{each.phase} failed: {each.reason}")
    missing = [phase for phase in report.phases if phase.verdict == NOT_MEASURED]
    if missing:
        disturbed = any(not phase.b_over_a.measured for phase in missing)
        reason = (
            "other processes disturbed too many rounds" if disturbed else "A differs from itself"
        )
        report_error(
            f"not measured: {', '.join(phase.phase for phase in missing)}: {reason}; try again on "
            "a quieter machine or with a larger --budget"
        )
    return _NOT_MEASURED_CODE if missing or report.failed else 0


def _checked_sweep(
    sweeps: Sequence[str],
    taken: Collection[str],
    comparing: bool,
    csv_file: Path | None,
    plot_file: Path | None,
) -> Sweep | None:
    if len(sweeps) > 1:
        raise UsageError("--sweep is given twice; sweep over one setting at a time")
    sweep = Sweep(sweeps[0]) if sweeps else None
    if comparing and (sweep is not None or csv_file is not None or plot_file is not None):
        raise UsageError("--compare cannot be combined with --sweep, --output or --plot")
    if plot_file is not None and sweep is None:
        raise UsageError("--plot requires --sweep KEY=A,B,C")
    if sweep is not None and sweep.key in taken:
        raise UsageError(f"{sweep.key} is both set and swept over")
    return sweep


def _show(
    ctx: click.Context,
    report: BenchReport,
    as_json: bool,
    csv_file: Path | None,
    plot_file: Path | None,
) -> None:
    from clsbench.report.terminal.bench import print_bench, to_csv
    from clsbench.report.terminal.console import Console

    # Files first, since the reader of the table may close the pipe. Failures are reported last.
    problem = None
    try:
        if csv_file is not None:
            write_file(csv_file, to_csv(report))
        if plot_file is not None and report.measured_anything():
            from clsbench.report.plots.growth import save_growth

            with writing(plot_file):
                save_growth(report, plot_file)
    except UsageError as error:
        problem = error
    if as_json:
        write_result(ctx, report)
    else:
        print_bench(Console(), report)
    if problem is not None:
        raise problem


class _PhaseDisplay:
    """Shows on stderr the phase being measured: a live line on a terminal, else log lines."""

    def __init__(self, quiet: bool, phases: int) -> None:
        self._quiet = quiet
        self._phases = phases
        self._count = 0
        self._status: Any = None

    def __enter__(self) -> _PhaseDisplay:
        if not self._quiet and sys.stderr.isatty():
            from clsbench.report.terminal.console import Console

            self._status = Console(stderr=True).status("the machine's peak …")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def phase_started(self, value: str, phase: str) -> None:
        """Show the phase."""
        from clsbench.report.wording import plain

        self._count += 1
        line = f"{phase} ({self._count} of {self._phases}{f', {value}' if value else ''}) …"
        if self._status is not None:
            self._status.update(plain(line))
        elif not self._quiet:
            write_message(line, err=True)
