"""Time the trials of a tuned row, which share one process; see ``--help``."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import rich_click as click
import torch
from rich.console import Console
from rich.table import Table

from clsbench.bench.load import LoadMeter
from clsbench.results.store import scan
from clsbench.schema.quantities import duration_text
from clsbench.schema.record import RunRecord
from clsbench.system.environment import cpu_name
from start_up import CLSBENCH, run_command
from trial_clock import FILE_VARIABLE, FINISHED, Moment, read_moments

GOAL_SECONDS = 0.5
"""The most that a trial may take beyond its training and evaluation."""

_NO_BYTECODE = (
    "PYTHONDONTWRITEBYTECODE is set, so separate runs may start slower than they would without it"
)

CLOCK = Path(__file__).with_name("trial_clock.py")


class Cost(msgspec.Struct, frozen=True):
    """Seconds by the clock, which depend on the machine's load, and seconds of processor time."""

    seconds: float
    processor_seconds: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a trial from the end of the one before to its own end, in two parts."""

    training_and_evaluation: Cost
    beyond: Cost


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. ``suite`` and each of ``separate_runs`` are whole commands, from start to
    exit; ``foreign_cores`` is the largest number of cores that other processes used meanwhile.
    Unless ``bytecode_kept``, every command compiled the modules that it imported."""

    backbone: str
    texts: int
    threads: int
    cpu: str
    cores: int | None
    torch: str
    trials: tuple[Trial, ...]
    suite: Cost
    separate_runs: tuple[Cost, ...]
    foreign_cores: float
    bytecode_kept: bool
    prefix_texts: int
    prefix_texts_computed: int

    def per_trial(self, of: Callable[[Sequence[float]], float]) -> Cost:
        """The cost beyond training and evaluation of the trials after the first, summarized."""
        return summarized([trial.beyond for trial in self.trials[1:]], of)

    @property
    def separately(self) -> Cost:
        """As many separate runs as there are trials, computed from the median of those measured."""
        median = summarized(self.separate_runs, statistics.median)
        number = len(self.trials)
        return Cost(number * median.seconds, number * median.processor_seconds)


def summarized(costs: Sequence[Cost], of: Callable[[Sequence[float]], float]) -> Cost:
    """Both times of the costs, each summarized by ``of``."""
    return Cost(of([c.seconds for c in costs]), of([c.processor_seconds for c in costs]))


def trials_of(moments: Sequence[Moment]) -> tuple[Trial, ...]:
    """The trials of one process.

    Raises:
        click.ClickException: they ran in several processes.
    """
    if len({moment.process for moment in moments}) > 1:
        raise click.ClickException("the trials did not run in one process")
    trials, parts = [], ([0.0, 0.0], [0.0, 0.0])
    for moment, following in pairwise(moments):
        part = parts[moment.event in ("training", "evaluation")]
        part[0] += following.seconds - moment.seconds
        part[1] += following.processor_seconds - moment.processor_seconds
        if following.event == FINISHED:
            beyond, trained = (Cost(*part) for part in parts)
            trials.append(Trial(training_and_evaluation=trained, beyond=beyond))
            parts = ([0.0, 0.0], [0.0, 0.0])
    return tuple(trials)


def timed_command(command: Sequence[str], environment: Mapping[str, str]) -> tuple[Cost, float]:
    """Run the command; its cost with all its processes, and the cores that others used."""
    meter = LoadMeter()
    before = meter.look()
    run_command(command, environment)
    after = meter.look()
    cost = Cost(after.at_seconds - before.at_seconds, after.own_seconds - before.own_seconds)
    return cost, meter.foreign_cores(before, after)


def measure(trials: int, separate: int, backbone: str, texts: int, threads: int) -> Report:
    """Run the tuned suite, then its first trials as separate runs.

    Raises:
        click.ClickException: a command fails, or a separate run differs from its trial.
    """
    rates = [f"{1e-5 * (number + 1):g}" for number in range(trials)]
    same = [
        "--dataset", f"synthetic-sms:texts={texts}", "--set", "data.balance=false",
        "--backbone", backbone, "--freezing", "head-only", "--set", "train.epochs=1",
        "--threads", str(threads), "--device", "cpu", "--no-curves",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {"suite": folder / "suite", "run": folder / "separate"}
        start = {
            verb: [*CLSBENCH, verb, "gpt2-sms-spam", *same, "--out", str(store)]
            for verb, store in stores.items()
        }
        environment = {
            **os.environ, "CLSBENCH_CACHE": str(folder / "cache"),
            FILE_VARIABLE: str(folder / "moments"),
        }  # fmt: skip
        tuned = ["--plugin", str(CLOCK), "--tune", f"train.lr={','.join(rates)}", "--tuner", "grid"]
        costs = [timed_command([*start["suite"], *tuned], environment)]
        for rate in rates[:separate]:
            costs.append(timed_command([*start["run"], "--set", f"train.lr={rate}"], environment))
        found = trials_of(read_moments(folder / "moments"))
        records, alone = ([run.record for run in scan(s).runs] for s in stores.values())
    check_equal(alone, records)
    kept = [record.fast_path.kept for record in records if record.fast_path is not None]
    return Report(
        backbone=backbone,
        texts=texts,
        threads=threads,
        cpu=cpu_name(),
        cores=os.cpu_count(),
        torch=str(torch.__version__),
        trials=found,
        suite=costs[0][0],
        separate_runs=tuple(cost for cost, _ in costs[1:]),
        foreign_cores=max(cores for _, cores in costs),
        bytecode_kept=not sys.dont_write_bytecode,
        prefix_texts=max(each.distinct for each in kept if each is not None),
        prefix_texts_computed=sum(each.computed for each in kept if each is not None),
    )


def check_equal(separate: Sequence[RunRecord], trials: Sequence[RunRecord]) -> None:
    """Each separate run has the metrics of the trial with its run key.

    Raises:
        click.ClickException: it does not.
    """
    metrics = {record.run_key: record.metrics for record in trials}
    for record in separate:
        if record.metrics is None or metrics.get(record.run_key) != record.metrics:
            raise click.ClickException("a separate run differs from the trial with its settings")


def table(report: Report) -> Table:
    """A row for each figure, with both times."""
    number = len(report.trials)
    drawn = Table(
        title=f"{number} trials of head-only on {report.backbone}, {report.texts} texts, "
        f"threads: {report.threads}",
        title_justify="left",
    )
    for heading in ("", "time", "processor time"):
        drawn.add_column(heading)
    training = [trial.training_and_evaluation for trial in report.trials[1:]]
    separate = report.separate_runs
    for name, cost in {
        "beyond training and evaluation: median trial": report.per_trial(statistics.median),
        "mean trial": report.per_trial(statistics.fmean),
        "slowest trial": report.per_trial(max),
        "first trial, which prepares for all": report.trials[0].beyond,
        "training and evaluation: median trial": summarized(training, statistics.median),
        "the whole suite": report.suite,
        f"a separate run (median of {len(separate)})": summarized(separate, statistics.median),
        f"{number} times that": report.separately,
    }.items():
        drawn.add_row(name, duration_text(cost.seconds), duration_text(cost.processor_seconds))
    ratio = report.separately.seconds / report.suite.seconds
    of_processor = report.separately.processor_seconds / report.suite.processor_seconds
    drawn.add_row("ratio to the whole suite", f"{ratio:.1f}", f"{of_processor:.1f}")
    return drawn


def verdict(report: Report) -> str:
    """Whether the median trial reaches the goal, and the conditions."""
    median = report.per_trial(statistics.median)
    reached = {
        name: "reached" if seconds <= GOAL_SECONDS else "not reached"
        for name, seconds in (
            ("time", median.seconds),
            ("processor time", median.processor_seconds),
        )
    }
    outcome = ", ".join(f"{how} in {name}" for name, how in reached.items())
    return (
        f"Goal of {GOAL_SECONDS:g} s a trial (median): {outcome}\n"
        f"Prefix of {report.prefix_texts} texts: computed for {report.prefix_texts_computed} texts "
        "in all trials\n"
        f"Other processes used up to {report.foreign_cores:.1f} of {report.cores} cores; "
        f"{report.cpu}, torch {report.torch}"
        + ("" if report.bytecode_kept else f"\n{_NO_BYTECODE}")
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--trials", type=click.IntRange(min=2), default=32, show_default=True,
              help="Trials, which differ in the learning rate.")  # fmt: skip
@click.option("--separate", type=click.IntRange(min=1), default=3, show_default=True,
              help="Trials that are also run as commands of their own.")  # fmt: skip
@click.option("--backbone", default="gpt2:weights=random", show_default=True,
              help="The backbone, as for clsbench run.")  # fmt: skip
@click.option("--texts", type=click.IntRange(min=20), default=80, show_default=True,
              help="Texts of the stand-in corpus.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True,
              help="CPU threads of torch.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write the figures to this file.")  # fmt: skip
def main(
    trials: int, separate: int, backbone: str, texts: int, threads: int, json_file: Path | None
) -> None:
    """Time a tuned row of head-only: what a trial takes beyond its training and evaluation.

    The suite begins with an empty cache. The separate runs come after it and reuse its prefix, and
    must give the same metrics. It takes about two minutes. The processor time depends less on what
    else the machine does than the time. CLSBENCH_ASSETS names a folder with GPT-2's vocabulary;
    otherwise it is downloaded.
    """
    report = measure(trials, min(separate, trials), backbone, texts, threads)
    console = Console()
    console.print(table(report))
    console.print(verdict(report), highlight=False)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


if __name__ == "__main__":
    main()
