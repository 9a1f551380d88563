"""Measure false alarms and missed slow-downs of ``benchmarks.watch check``; see ``--help``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from benchmarks.watch.checkouts import Side, runs_in_turn
from benchmarks.watch.history import BenchmarkRun
from benchmarks.watch.verdicts import Thresholds, Verdict, judge, judge_pairs, more_pairs
from rich.console import Console
from rich.table import Table

from clsbench.system.environment import cpu_name
from rounds import METHOD

SUBSET = "test_freezing and cpu and last-blocks and train"
SLOW_DOWNS = (0.0, 0.05, 0.10, 0.30)
BASELINE = 8
HERE = Path(__file__).parent


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeats", type=click.IntRange(min=1), default=40, show_default=True,
              help="Runs for each slow-down.")  # fmt: skip
@click.option("--baseline", type=click.IntRange(min=5), default=BASELINE, show_default=True,
              help="Number of earlier runs for comparison.")  # fmt: skip
@click.option("--slow-down", "slow_downs", type=float, multiple=True, default=SLOW_DOWNS,
              show_default=True,
              help="Make every call longer by this fraction; repeatable.")  # fmt: skip
@click.option("--pairs", type=click.IntRange(min=5), help="Judge as --against does: by at least "
              "this number of sets of alternating processes, one per slow-down and an unchanged "
              "one for comparison.")  # fmt: skip
@click.option("--load", is_flag=True, help="Keep one core busy during the runs.")
@click.option("--threshold", type=float, default=0.05, show_default=True,
              help="The smallest slow-down that matters.")  # fmt: skip
@click.option("--select", default=SUBSET, show_default=True, help="The benchmarks, for pytest -k.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              help="File for the verdicts; if it exists, it is continued.")  # fmt: skip
def main(
    repeats: int,
    baseline: int,
    slow_downs: tuple[float, ...],
    pairs: int | None,
    load: bool,
    threshold: float,
    select: str,
    json_file: Path | None,
) -> None:
    """Run a few benchmarks repeatedly, unchanged and slowed down, and judge each run.

    Every run is a process of its own, judged by the BASELINE unchanged runs before the repeats as
    python -m benchmarks.watch check judges; with --pairs each repeat is a verdict of its own. An
    alarm is a verdict in which any benchmark is slower.
    """
    progress = Console(stderr=True)
    conditions = {"pairs": pairs, "baseline": None if pairs else baseline, "load": load,
                  "threshold": threshold, "select": select, "method": METHOD, "cpu": cpu_name(),
                  "torch": str(torch.__version__)}  # fmt: skip
    outcomes = earlier_verdicts(json_file, conditions, slow_downs)
    done = len(outcomes[slow_downs[0]])
    thresholds = Thresholds(threshold)
    started = time.perf_counter()
    with _busy(load):
        earlier = []
        for number in range(0 if pairs else baseline):
            earlier += _run(select, [0.0])
            progress.print(f"{number + 1} of {baseline} runs to judge by")
        if earlier:
            seconds = (time.perf_counter() - started) / baseline
            progress.print(f"{baseline} runs to judge by: {seconds:.1f} s each")
        for number in range(done, repeats):
            for slow_down, verdicts in (
                _in_turn(select, slow_downs, pairs, thresholds)
                if pairs
                else _one_by_one(select, slow_downs, earlier, thresholds)
            ):
                outcomes[slow_down].append(
                    {v.benchmark: [v.outcome, v.ratio, v.limit, v.earlier_runs] for v in verdicts}
                )
            progress.print(f"{number + 1} of {repeats}")
            if json_file is not None:  # an interruption keeps all verdicts
                kept = [
                    [slow_down, outcomes_of_run] for slow_down, outcomes_of_run in outcomes.items()
                ]
                json_file.write_text(json.dumps({**conditions, "verdicts": kept}, indent=1))
    _show(outcomes, load, (time.perf_counter() - started) / max(repeats - done, 1))


def earlier_verdicts(
    file: Path | None, conditions: dict[str, Any], slow_downs: Sequence[float]
) -> dict[float, list[dict[str, Any]]]:
    """The verdicts in the file, which must be under the same conditions."""
    if file is None or not file.exists():
        return {slow_down: [] for slow_down in slow_downs}
    kept = json.loads(file.read_text())
    found = dict(kept.pop("verdicts"))
    if kept != conditions or list(found) != list(slow_downs):
        raise click.UsageError(f"{file} holds verdicts under other conditions: {kept}")
    fewest = min(map(len, found.values()))  # the process may have ended while it wrote
    return {slow_down: outcomes_of_run[:fewest] for slow_down, outcomes_of_run in found.items()}


def _one_by_one(
    select: str, slow_downs: Sequence[float], earlier: list[BenchmarkRun], thresholds: Thresholds
) -> Iterator[tuple[float, Sequence[Verdict]]]:
    for slow_down in slow_downs:
        (run,) = _run(select, [slow_down])
        yield slow_down, judge(run, earlier, thresholds).verdicts


def _in_turn(
    select: str, slow_downs: Sequence[float], pairs: int, thresholds: Thresholds
) -> Iterator[tuple[float, Sequence[Verdict]]]:
    sets: list[list[BenchmarkRun]] = []

    def of(place: int) -> list[tuple[BenchmarkRun, BenchmarkRun]]:
        return [(runs[0], runs[place]) for runs in sets]

    places = range(1, len(slow_downs) + 1)
    while any(more_pairs(of(place), thresholds, pairs) for place in places):
        sides = [0.0, *slow_downs]
        if len(sets) % 2:  # alternate which side starts
            sets.append(_run(select, sides[::-1])[::-1])
        else:
            sets.append(_run(select, sides))
    for place, slow_down in zip(places, slow_downs, strict=True):
        yield slow_down, judge_pairs(of(place), thresholds)


def _run(select: str, slow_downs: Sequence[float]) -> list[BenchmarkRun]:
    sides = [
        Side(
            f"the sources made {slow_down:.0%} slower",
            HERE.parent / "src",
            ["-k", select, "--threads=1", f"--slow-down={slow_down}"],
        )
        for slow_down in slow_downs
    ]
    return runs_in_turn(HERE.parent, sides)


@contextlib.contextmanager
def _busy(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _show(outcomes: dict[float, list[dict[str, Any]]], load: bool, seconds: float) -> None:
    table = Table(title=f"{'one core busy with something else' if load else 'quiet'}, "
                  f"{seconds:.1f} s a repeat", title_justify="left")  # fmt: skip
    for heading in ("made slower by", "runs", "with an alarm", "every benchmark found",
                    "not measured", "single verdicts"):  # fmt: skip
        table.add_column(heading)
    for slow_down, runs in outcomes.items():
        outcomes_of_run = [[outcome for outcome, *_ in run.values()] for run in runs]
        single = Counter(outcome for run in outcomes_of_run for outcome in run)
        table.add_row(
            f"{slow_down:.0%}",
            str(len(runs)),
            str(sum("slower" in run for run in outcomes_of_run)),
            str(sum(set(run) == {"slower"} for run in outcomes_of_run)),
            str(sum("not measured" in run for run in outcomes_of_run)),
            ", ".join(f"{count} {outcome}" for outcome, count in single.most_common()),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
