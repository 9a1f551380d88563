"""How often ``clsbench bench check`` cries wolf, and how often it misses; ``--help`` explains."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from clsbench.measure.history import BenchmarkRun, Thresholds, judge, read_history

SUBSET = "test_freezing and cpu and last-blocks and train"
SLOW_DOWNS = (0.0, 0.05, 0.10, 0.30)
BASELINE = 8
HERE = Path(__file__).parent


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeats", type=click.IntRange(min=1), default=40, show_default=True,
              help="Runs for each slow-down.")  # fmt: skip
@click.option("--baseline", type=click.IntRange(min=5), default=BASELINE, show_default=True,
              help="Earlier runs that each is judged by.")  # fmt: skip
@click.option("--slow-down", "slow_downs", type=float, multiple=True, default=SLOW_DOWNS,
              show_default=True, help="How much longer every call is made, as a fraction; "
              "repeatable.")  # fmt: skip
@click.option("--load", is_flag=True, help="Keep one core busy with something else all the while.")
@click.option("--threshold", type=float, default=0.05, show_default=True,
              help="The smallest slow-down that matters.")  # fmt: skip
@click.option("--select", default=SUBSET, show_default=True, help="The benchmarks, for pytest -k.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Write every verdict there.")  # fmt: skip
def main(
    repeats: int,
    baseline: int,
    slow_downs: tuple[float, ...],
    load: bool,
    threshold: float,
    select: str,
    json_file: Path | None,
) -> None:
    """Run a few benchmarks again and again, unchanged and made slower on purpose, and judge each.

    Every run is a process of its own, judged by the BASELINE unchanged runs before the repeats as
    clsbench bench check judges. An alarm is a run in which any benchmark is told to be slower.
    """
    progress = Console(stderr=True)
    outcomes: dict[float, list[dict[str, Any]]] = {}
    started = time.perf_counter()
    with _busy(load), tempfile.TemporaryDirectory(prefix="clsbench-alarms-") as folder:
        earlier = [_run(Path(folder, f"b{n}"), select, 0.0) for n in range(baseline)]
        seconds = (time.perf_counter() - started) / baseline
        progress.print(f"{baseline} runs to judge by: {seconds:.1f} s each")
        # Turn by turn, so that the hour is the same for all.
        for number in range(repeats):
            for slow_down in slow_downs:
                run = _run(Path(folder, f"{number}-{slow_down}"), select, slow_down)
                verdicts = judge(run, earlier, Thresholds(threshold))
                outcomes.setdefault(slow_down, []).append(
                    {v.benchmark: [v.outcome, v.ratio, v.limit] for v in verdicts}
                )
            progress.print(f"{number + 1} of {repeats}")
    _show(outcomes, load, seconds)
    if json_file is not None:
        json_file.write_text(json.dumps({str(k): v for k, v in outcomes.items()}, indent=1))


def _run(storage: Path, select: str, slow_down: float) -> BenchmarkRun:
    command = [
        sys.executable, "-m", "pytest", str(HERE), "-q", "-k", select, "--threads", "1",
        f"--slow-down={slow_down}", f"--benchmark-storage=file://{storage}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stdout + done.stderr)
    return read_history(storage).runs[-1]


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
                  f"{seconds:.1f} s a run", title_justify="left")  # fmt: skip
    for heading in ("made slower by", "runs", "with an alarm", "every benchmark found",
                    "not measured", "single verdicts"):  # fmt: skip
        table.add_column(heading)
    for slow_down, runs in outcomes.items():
        told = [[outcome for outcome, *_ in run.values()] for run in runs]
        single = Counter(outcome for run in told for outcome in run)
        table.add_row(
            f"{slow_down:.0%}",
            str(len(runs)),
            str(sum("slower" in run for run in told)),
            str(sum(set(run) == {"slower"} for run in told)),
            str(sum("not measured" in run for run in told)),
            ", ".join(f"{count} {outcome}" for outcome, count in single.most_common()),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
