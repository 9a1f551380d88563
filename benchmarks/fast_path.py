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

from bounds import bound, needs_of_a_step
from clsbench.environment import cpu_name, git_commit, peak_memory_bytes
from clsbench.errors import ClsbenchError
from clsbench.measure.limits import Limits, LimitsMeter
from clsbench.measure.racing import FEWEST_PAIRS, RaceRules, race
from our_side import OurSide
from outcome import DOUBLE_TOLERANCE, TOLERANCE, Equality, Report, Result, verdict
from peers import BookSide, HuggingFaceSide, make_fast_book_model
from reporting import show
from whole import BOOK, OURS, put_together, race_parts, run_whole
from workload import SETTINGS, Promise, Setting, Workload, prepare

HUGGING_FACE = "Hugging Face"
FAST_BOOK = "book, GPTModelFast"
_CHECKED_STEPS = 4
_FAST_BOOK_TOLERANCE = 1e-3  # it is raced for timing; AdamW magnifies rounding
_BATCHES = {"small": 8, "tiny": 4}
_SAMPLE_SECONDS = {"small": 0.5, "tiny": 0.05}
_LIMITS: dict[str, dict[str, Any]] = {
    "small": {},
    "tiny": {"matrix_side": 512, "copied_bytes": 32 * 2**20, "seconds": 0.2},
}
"""How the machine's limits are measured."""

_STEP_SHARE = 0.5  # of a setting's budget; the parts of a whole run have the rest
_NOTES = [
    "Losses: the largest difference between the two sides in the first steps. Beyond "
    f"{TOLERANCE:g} the same is done in float64, where they must agree to {DOUBLE_TOLERANCE:g} of "
    "their size (float32 rounding, which AdamW can magnify, does not explain more); else nothing "
    "is timed.",
    "Times sooner: the book's median over ours in the rounds in which both were quiet, with a 95 % "
    "interval (bootstrap of the rounds). ours/ours and book/book compare a side with itself, even "
    "rounds with odd ones: what they show beside 1 is noise. Below 5 % nothing is claimed.",
    "Quiet rounds: those without a sample during which other processes used more processor than "
    "allowed; the others are dropped.",
    "Bound: the step's floating-point operations (forward and backward) over the measured peak, or "
    "the bytes it must move over the measured bandwidth, whichever is longer; as if nothing stayed "
    "in the processor's caches. Peak and bandwidth are the best of several measurements during the "
    "race; without a quiet one there is no bound.",
    "Whole runs: the book's and our own count the same steps, evaluations while training, and the "
    "final scoring (the book's loader drops its last training batch); the look before training and "
    "the building of the model, which both have, are counted on neither side. Prefix, scoring and "
    "loading are measured on a sample of the distinct rows and scaled by token positions.",
    "Hugging Face: GPT2ForSequenceClassification, fused attention, fused AdamW, the same shapes "
    "and freezing, other weights: timing only.",
]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("settings", nargs=-1, type=click.Choice(list(SETTINGS)))
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="CLSBENCH_ASSETS",
    help="Folder with the SMS corpus and GPT-2's vocabulary, as "
    "clsbench assets fetch fills it; what it lacks is downloaded.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="CPU threads of torch, for every side.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Quiet rounds wanted; the control needs 10, a ratio 5.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds of timing for each setting; then it ends with what it has.",
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
    help="Write everything there, raw samples included.",
)
@click.option(
    "--whole",
    "whole_run",
    is_flag=True,
    help="Run row 1 whole instead, on both sides (size small: half an hour).",
)
@click.option(
    "--load-limit",
    type=float,
    default=0.12,
    show_default=True,
    help="Cores that other processes may use during a sample that is kept.",
)
@click.option(
    "--break-equality",
    is_flag=True,
    help="Give the book other weights, to see that the check of the losses works.",
)
def main(
    settings: tuple[str, ...], assets: Path | None, threads: int, rounds: int, budget: float,
    size: str, json_file: Path | None, whole_run: bool, load_limit: float, break_equality: bool,
) -> None:  # fmt: skip
    """Race clsbench's fast path against the code of the book it reproduces.

    SETTINGS are rows of the table, all by default. Both sides train on the same texts of the SMS
    corpus, in the same order, from the same random weights; only if their losses agree are they
    timed: turn by turn in one process, in alternating order, each also against itself. Samples
    taken while other processes were busy are dropped and counted, so run it on a quiet machine.

    A first try (seconds): python benchmarks/fast_path.py last-block --size tiny --assets DIR

    The table (half an hour): python benchmarks/fast_path.py --assets DIR --json table.json

    It needs the peers: pip install --no-deps llms-from-scratch==1.0.19, and transformers.
    """
    torch.set_num_threads(threads)
    # Where nobody looks there is no width to keep to.
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
    if any(not result.equality.holds for result in results):
        sys.exit(1)


def run_setting(
    workload: Workload,
    folder: Path,
    rules: RaceRules,
    size: str,
    break_equality: bool = False,
) -> Result:
    """Check that both sides do the same; if so, time them."""
    setting = workload.setting
    promise: Promise | None = setting.promise if size == "small" else None
    seed = workload.experiment.spec.seed + break_equality
    ours = OurSide(workload, folder)
    book = BookSide(workload, folder, seed)
    equality = check_equality(ours, book)
    if equality.our_trainable == equality.book_trainable and not equality.holds:
        equality = check_in_double(equality, workload, folder, seed)
    result = Result(
        setting=setting.name,
        about=setting.about,
        shortcuts={s.name: s.detail for s in workload.plan.shortcuts if s.taken},
        equality=equality,
        verdict=verdict(equality, None, None),
        promised_step=promise.step if promise else None,
        promised_cold=promise.cold if promise else None,
        promised_kept=promise.kept if promise else None,
    )
    if not equality.holds:
        return result
    contenders: dict[str, Any] = {OURS: ours.step, BOOK: book.step}
    if not setting.lora:
        fast_book = BookSide(workload, folder, seed, make=make_fast_book_model)
        difference = max(abs(theirs - fast_book.step()) for theirs in equality.book)
        if difference > _FAST_BOOK_TOLERANCE:
            raise ClsbenchError(
                f"{setting.name}: {FAST_BOOK} gives losses that differ by {difference:.1e} from "
                "the book's own: it does something else, and is not timed"
            )
        contenders[FAST_BOOK] = fast_book.step
    if _is_row_1(setting):
        contenders[HUGGING_FACE] = HuggingFaceSide(workload).step
    share = rules._replace(budget_seconds=rules.budget_seconds * _STEP_SHARE)
    steps = race(contenders, share)
    rest = rules._replace(
        rounds=min(rules.rounds, FEWEST_PAIRS + 1),  # no control, and no round is short
        budget_seconds=rules.budget_seconds * (1 - _STEP_SHARE),
    )
    parts = race_parts(ours, book, rest)
    step = steps.compare(OURS, BOOK)
    return msgspec.structs.replace(
        result,
        verdict=verdict(equality, step, result.promised_step),
        race=steps,
        parts_race=parts,
        step=step,
        hugging_face=steps.compare(OURS, HUGGING_FACE) if _is_row_1(setting) else None,
        fast_book=None if setting.lora else steps.compare(OURS, FAST_BOOK),
        controls=[steps.control(name) for name in contenders],
        needs=needs_of_a_step(ours, workload),
        whole=put_together(steps, parts, workload),
        peak_memory_bytes=peak_memory_bytes(torch.device("cpu")),
    )


def with_bound(result: Result, limits: Limits, load_limit_cores: float) -> Result:
    """The result beside what the machine cannot beat, if its limits were seen undisturbed."""
    if result.needs is None or limits.foreign_cores > load_limit_cores:
        return result
    least = bound(result.needs, limits)
    seconds = result.step.fast_seconds if result.step is not None else None
    return msgspec.structs.replace(
        result, bound=least, ours_over_bound=None if seconds is None else seconds / least.seconds
    )


def check_equality(ours: OurSide, book: BookSide) -> Equality:
    """The first steps of both sides, on the same texts."""
    return Equality(
        ours=[ours.step() for _ in range(_CHECKED_STEPS)],
        book=[book.step() for _ in range(_CHECKED_STEPS)],
        our_trainable=sum(parameter.numel() for parameter in ours.trained),
        book_trainable=sum(p.numel() for p in book.model.parameters() if p.requires_grad),
    )


def check_in_double(equality: Equality, workload: Workload, folder: Path, seed: int) -> Equality:
    """The same steps in float64: what differs by rounding alone agrees there."""
    default = torch.get_default_dtype()
    ours = OurSide(workload, folder, "fp64")
    # The book's GELU makes a constant of the default kind in every call.
    torch.set_default_dtype(torch.float64)
    try:
        book = BookSide(workload, folder, seed, torch.float64)
        return msgspec.structs.replace(
            equality,
            double_ours=[ours.step() for _ in range(_CHECKED_STEPS)],
            double_book=[book.step() for _ in range(_CHECKED_STEPS)],
        )
    finally:
        torch.set_default_dtype(default)


def _is_row_1(setting: Setting) -> bool:
    return setting is next(iter(SETTINGS.values()))


def _versions() -> dict[str, str]:
    names = ("clsbench", "torch", "llms-from-scratch", "transformers", "numpy", "scipy")
    versions = {name: metadata.version(name) for name in names}
    return {**versions, "python": platform.python_version(), "commit": git_commit() or "unknown"}


if __name__ == "__main__":
    main()
