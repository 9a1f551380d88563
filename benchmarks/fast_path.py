"""Race clsbench's fast path against the book's own code; ``--help`` explains."""

from __future__ import annotations

import gc
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the peer is built from its configuration alone

import msgspec
import psutil
import rich_click as click
import torch
from rich.console import Console

from bounds import bound
from clsbench.bench.interleaving import RaceRules
from clsbench.bench.machine_peak import Limits, LimitsMeter
from clsbench.errors import ClsbenchError
from clsbench.system.environment import cpu_name, git_commit
from race_outcome import DOUBLE_TOLERANCE, TOLERANCE, Report, Result
from reporting import show
from workload import SETTINGS, prepare

_BATCHES = {"small": 8, "tiny": 4}
_SAMPLE_SECONDS = {"small": 0.5, "tiny": 0.05}
_LIMITS: dict[str, dict[str, Any]] = {
    "small": {},
    "tiny": {"matrix_side": 512, "copied_bytes": 32 * 2**20, "seconds": 0.2},
}
"""How the machine's limits are measured."""

_NOTES = [
    "Losses: the largest difference between the two sides in the first steps. Beyond "
    f"{TOLERANCE:g}, the steps are repeated in float64, where the relative difference must not "
    f"exceed {DOUBLE_TOLERANCE:g} (AdamW can magnify float32 rounding); else nothing is timed.",
    "Times faster: the book's median over ours in the rounds in which both were quiet, with a 95 % "
    "interval (order statistics of the rounds' ratios; of whole runs, a bootstrap of the parts' "
    "samples). ours/ours and book/book compare consecutive rounds of one side, so deviations from "
    "1 are noise. Differences below 5 % are not reported.",
    "Quiet rounds: those without a sample during which other processes used more processor than "
    "allowed; the others are dropped.",
    "Bound: the step's floating-point operations (forward and backward) over the measured peak, or "
    "the bytes it must move over the measured bandwidth, whichever is longer; no data is assumed "
    "to stay in the processor's caches. Peak and bandwidth are the best of several measurements; "
    "without a quiet one, no bound is shown.",
    "Whole runs: both sides count the same steps, evaluations during training, and the final "
    "scoring (the book's loader drops its last training batch), but not the evaluation before "
    "training and building the model. Prefix, scoring and loading are measured on a sample of the "
    "distinct rows and scaled by token positions.",
    "Other peers: the book's GPTModelFast, and Hugging Face's GPT2ForSequenceClassification with "
    "fused attention and fused AdamW. Both have the same weights and freezing, and are timed only "
    "if their losses agree with the book's to 1e-3 in the first steps.",
]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("settings", nargs=-1, type=click.Choice(list(SETTINGS)))
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="CLSBENCH_ASSETS",
    help="Folder with the SMS corpus and GPT-2's vocabulary, as filled by "
    "clsbench assets fetch; missing files are downloaded.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="CPU threads used by torch on each side.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Number of quiet rounds; a ratio needs 6, the control 12.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Maximum seconds per setting.",
)
@click.option(
    "--size",
    type=click.Choice(["small", "tiny"]),
    default="small",
    show_default=True,
    help="small: GPT-2 as published. tiny: a toy, to try this command.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for all results, including raw samples.",
)
@click.option(
    "--whole",
    "whole_run",
    is_flag=True,
    help="Run row 1 completely on both sides instead (size small: half an hour).",
)
@click.option(
    "--load-limit",
    type=float,
    default=0.12,
    show_default=True,
    help="Drop samples during which other processes use more CPU cores than this.",
)
@click.option(
    "--break-equality",
    is_flag=True,
    help="Give the book other weights, to test the check of the losses.",
)
def main(
    settings: tuple[str, ...], assets: Path | None, threads: int, rounds: int, budget: float,
    size: str, json_file: Path | None, whole_run: bool, load_limit: float, break_equality: bool,
) -> None:  # fmt: skip
    """Compare the speed of clsbench's fast path and the book's own code.

    SETTINGS are rows of the table, all by default. Both sides train on the same texts of the SMS
    corpus, in the same order, from the same random weights. If their losses agree, they are timed
    alternately in one process; each side is also compared with itself. Samples taken while other
    processes were busy are dropped and counted, so run it on a quiet machine.

    A first try (seconds): python benchmarks/fast_path.py last-block --size tiny --assets DIR

    The table (half an hour): python benchmarks/fast_path.py --assets DIR --json table.json

    It needs the peers: pip install --no-deps llms-from-scratch==1.0.19, and transformers.
    """
    from contest import run_setting  # they need the peers, which --help does not
    from whole import run_whole

    torch.set_num_threads(threads)
    # Output that is not a terminal has no width limit.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    progress = Console(stderr=True)
    meter = LimitsMeter(torch.device("cpu"), **_LIMITS[size])
    meter.measure()
    results, measured_whole = [], None
    rules = RaceRules(rounds, budget, load_limit, _SAMPLE_SECONDS[size])
    try:
        with tempfile.TemporaryDirectory(prefix="clsbench-race-") as folder:
            if whole_run:
                workload = prepare(SETTINGS["last-block"], size, assets, threads, _BATCHES[size])
                progress.print("row 1, whole, on both sides …")
                measured_whole = run_whole(workload, Path(folder))
            else:
                for name in dict.fromkeys(settings or SETTINGS):
                    progress.print(f"{name} …")
                    where = Path(folder, name)
                    where.mkdir()
                    workload = prepare(SETTINGS[name], size, assets, threads, _BATCHES[size])
                    results.append(run_setting(workload, where, rules, size, break_equality))
                    gc.collect()
                    meter.measure()
    except ClsbenchError as error:
        raise click.ClickException(str(error)) from error
    limits = meter.best()
    report = Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        size=size,
        machine={
            "cpu": cpu_name(),
            "cores": os.cpu_count() or 1,
            "memory_bytes": psutil.virtual_memory().total,
            "platform": platform.platform(),
        },
        versions=_versions(),
        threads=threads,
        command={
            "settings": list(settings), "rounds": rounds, "budget_seconds": budget, "size": size,
            "load_limit_cores": load_limit, "whole": whole_run, "break_equality": break_equality,
        },
        limits=limits,
        results=[with_bound(result, limits, load_limit) for result in results],
        whole_run=measured_whole,
        notes=_NOTES,
    )  # fmt: skip
    show(report, console)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if any(result.race is None for result in results):  # an implementation computes something else
        sys.exit(1)


def with_bound(result: Result, limits: Limits, load_limit_cores: float) -> Result:
    """The result beside what the machine cannot beat, if its limits were seen undisturbed."""
    if result.needs is None or limits.foreign_cores > load_limit_cores:
        return result
    least = bound(result.needs, limits)
    seconds = result.step.fast_seconds if result.step is not None else None
    return msgspec.structs.replace(
        result, bound=least, ours_over_bound=None if seconds is None else seconds / least.seconds
    )


def _versions() -> dict[str, str]:
    names = ("clsbench", "torch", "llms-from-scratch", "transformers", "numpy", "scipy")
    versions = {name: metadata.version(name) for name in names}
    return {**versions, "python": platform.python_version(), "commit": git_commit() or "unknown"}


if __name__ == "__main__":
    main()
