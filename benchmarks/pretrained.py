"""Race clsbench against the usual loop of transformers on a pretrained model; ``--help``
explains."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import msgspec
import rich_click as click
import torch
from rich.console import Console

from clsbench.bench.interleaving import RaceRules, race
from clsbench.errors import ClsbenchError
from clsbench.experiment.run import run_experiment
from clsbench.system.environment import cpu_name, git_commit
from workload import Promise, Setting, Workload, prepare

_CHECKED_STEPS = 4
_TOLERANCE = 1e-3  # in float32; AdamW magnifies rounding
_BATCHES = 8
_SAMPLE_SECONDS = 0.5
OURS, THEIRS = "clsbench", "transformers"


class Comparison(msgspec.Struct, kw_only=True):
    """The result of a race, for ``--json``; ``*_losses`` are those of the first steps."""

    date: str
    model: str
    pooling: str
    cpu: str
    threads: int
    versions: dict[str, str]
    our_losses: list[float]
    their_losses: list[float]
    trainable: int
    step: Any = None
    controls: list[Any] = []
    whole_seconds: dict[str, list[float]] = {}
    whole_accuracy: dict[str, list[float]] = {}
    epochs: int = 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--pooling",
    type=click.Choice(["last-real-token", "mean"]),
    help="last-real-token for a decoder, mean for an encoder; not with --suite.",
)
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Race a training step of each row of this suite instead, the plain path included.",
)
@click.option("--rows", "row_text", metavar="ROWS", help="Rows of the suite, such as 1-5,10.")
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the table of the suite's rows.",
)
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="CLSBENCH_ASSETS",
    help="Folder with the SMS corpus, as filled by clsbench assets fetch.",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=12, show_default=True,
    help="Number of quiet rounds; 6 at least for a ratio.",
)  # fmt: skip
@click.option(
    "--budget", type=click.FloatRange(min=0), default=300.0, show_default=True,
    help="Maximum seconds for the steps (of each row); 0: a trial with short samples.",
)  # fmt: skip
@click.option(
    "--whole", type=click.IntRange(min=0), default=0, show_default=True,
    help="Number of whole runs on each side, alternating, each from nothing.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--load-limit", type=float, default=0.12, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
def main(
    model: Path, pooling: str | None, suite: Path | None, row_text: str | None,
    markdown_file: Path | None, assets: Path | None, threads: int, rounds: int, budget: float,
    whole: int, epochs: int, load_limit: float, json_file: Path | None,
) -> None:  # fmt: skip
    """Compare the training of the last block of MODEL, a folder of transformers or a GGUF file.

    clsbench takes its fast path. The other side is the usual loop: a decoder's class for sequence
    classification, or an encoder with mean pooling; batches of 8, padded to their longest text;
    fused AdamW. Both sides train on the same texts in the same order, from the same weights. If
    their losses agree, they are timed alternately in one process; each side is also compared with
    itself. A whole run trains, evaluates and classifies all texts, starting with loading the model.

    With --suite, a step of each row is raced on our fast path, on our plain path, and in the usual
    loop: the base model with the same pooling, head and adapter.

    \b
    python benchmarks/pretrained.py my-encoder --pooling mean --assets DIR
    python benchmarks/pretrained.py my.gguf --suite benchmarks/suites/decoder.toml --rows 1-9
    """
    if (pooling is None) == (suite is None):
        raise click.UsageError("expected either --pooling or --suite")
    from hugging_face_side import HuggingFaceSide  # brings transformers
    from our_side import OurSide

    torch.set_num_threads(threads)
    named = {"gguf" if model.is_file() else "model": str(model)}
    if model.is_file():
        from clsbench_transformers.gguf import converted

        model = converted(model, "weights")
    rules = RaceRules(rounds, budget, load_limit, _SAMPLE_SECONDS if budget else 0.0)
    progress = Console(stderr=True)
    if suite is not None:
        paths = json_file, markdown_file
        _race_suite(suite, row_text, named, model, assets, threads, rules, paths, progress)
        return
    assert pooling is not None
    # Output that is not a terminal has no width limit.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    setting = Setting(
        "last-block", f"the last block trains, {pooling}",
        {"backbone": {"name": "hf", **named}, "pooling": pooling,
         "head": "score" if pooling == "last-real-token" else "linear",
         "freezing": "last-blocks:n=1", "train.epochs": epochs, "baselines": []},
        1, pooling == "last-real-token", False, Promise(0, 0),
    )  # type: ignore[arg-type]  # fmt: skip
    try:
        workload = prepare(setting, "small", assets, threads, _BATCHES)
    except ClsbenchError as error:
        raise click.ClickException(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="clsbench-race-") as folder:
        ours = OurSide(workload, Path(folder))
        theirs = HuggingFaceSide(workload, model, ours.classifier)
        result = Comparison(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            model=Path(next(iter(named.values()))).name,
            pooling=pooling,
            cpu=cpu_name(),
            threads=threads,
            versions=_versions(),
            our_losses=[ours.step() for _ in range(_CHECKED_STEPS)],
            their_losses=[theirs.step() for _ in range(_CHECKED_STEPS)],
            trainable=theirs.trainable,
            epochs=epochs,
        )
        _check(result, sum(parameter.numel() for parameter in ours.trained))
        progress.print("steps …")
        steps = race({OURS: ours.step, THEIRS: theirs.step}, rules)
        result.step = steps.compare(OURS, THEIRS)
        result.controls = [steps.control(name) for name in (OURS, THEIRS)]
    del ours, theirs
    for number in range(whole):
        progress.print(f"whole runs, {number + 1} of {whole} …")
        _whole(result, workload, model, epochs)
    _show(result, console)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def _race_suite(
    suite: Path, row_text: str | None, named: dict[str, str], folder: Path, assets: Path | None,
    threads: int, rules: RaceRules, paths: tuple[Path | None, Path | None], progress: Console,
) -> None:  # fmt: skip
    """Race the rows of a suite; the files are written anew after each."""
    from pretrained_rows import RacedRow, chosen_rows, markdown, race_rows

    json_file, markdown_file = paths
    backbone = {"name": "hf", **named}
    try:
        spec, rows = chosen_rows(suite, row_text)
    except ClsbenchError as error:
        raise click.ClickException(str(error)) from error
    raced: list[RacedRow] = []
    for row in race_rows(spec, rows, backbone, folder, assets, threads, rules):
        raced.append(row)
        progress.print(f"row {row.label} of {spec.name}: {row.verdict or 'raced'}")
        facts = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": Path(next(iter(named.values()))).name,
            "suite": spec.name,
            "cpu": cpu_name(),
            "threads": threads,
            "versions": _versions(),
            "rows": raced,
        }
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")
        if markdown_file is not None:
            markdown_file.write_text(markdown(raced), encoding="utf-8")
    print(markdown(raced), end="")


def _check(result: Comparison, our_trainable: int) -> None:
    """Refuse to time two sides that do not compute the same."""
    if our_trainable != result.trainable:
        raise click.ClickException(
            f"{OURS} trains {our_trainable:,} parameters, {THEIRS} {result.trainable:,}"
        )
    pairs = zip(result.our_losses, result.their_losses, strict=True)
    worst = max(abs(one - other) for one, other in pairs)
    if not worst <= _TOLERANCE:
        raise click.ClickException(
            f"the losses of the first steps differ by {worst:.1e}: {result.our_losses} and "
            f"{result.their_losses}"
        )


def _whole(result: Comparison, workload: Workload, model: Path, epochs: int) -> None:
    """A whole run on each side, with an empty cache."""
    from clsbench.components.catalog import load_catalog
    from hugging_face_side import HuggingFaceSide
    from our_side import make_classifier

    with tempfile.TemporaryDirectory(prefix="clsbench-whole-") as folder:
        os.environ["CLSBENCH_CACHE"] = folder
        options = msgspec.structs.replace(workload.options, out=Path(folder, "runs"))
        started = time.perf_counter()
        record = run_experiment(workload.experiment, options, load_catalog()).record
        _add(result, OURS, time.perf_counter() - started)
        assert record.metrics is not None
        result.whole_accuracy.setdefault(OURS, []).append(record.metrics.test.accuracy)
    classifier = make_classifier(workload, "fp32")
    workload.freezing.apply(classifier, workload.freezing.by_epoch[0])
    started = time.perf_counter()
    accuracy = HuggingFaceSide(workload, model, classifier).whole_run(epochs)
    _add(result, THEIRS, time.perf_counter() - started)
    result.whole_accuracy.setdefault(THEIRS, []).append(accuracy)


def _add(result: Comparison, side: str, seconds: float) -> None:
    result.whole_seconds.setdefault(side, []).append(seconds)


def _show(result: Comparison, console: Console) -> None:
    console.print(
        f"{result.model}, {result.pooling}, last block, {result.trainable:,} trained parameters, "
        f"{result.cpu}, {result.threads} threads"
    )
    worst = max(
        abs(one - other) for one, other in zip(result.our_losses, result.their_losses, strict=True)
    )
    console.print(f"losses of {_CHECKED_STEPS} steps: largest difference {worst:.1e}")
    for name, each in (("step", result.step), *(("control", c) for c in result.controls)):
        if each.ratio is None:
            console.print(f"{name}: too few quiet rounds ({each.pairs})")
            continue
        console.print(
            f"{name}: {each.fast} {1e3 * each.fast_seconds:.1f} ms, {each.slow} "
            f"{1e3 * each.slow_seconds:.1f} ms; {each.ratio:.2f} times faster (95 % interval "
            f"{each.low:.2f} to {each.high:.2f}, {each.pairs} quiet rounds)"
        )
    for side, seconds in result.whole_seconds.items():
        shown = ", ".join(f"{each:.1f}" for each in seconds)
        accuracies = ", ".join(f"{100 * each:.2f}" for each in result.whole_accuracy[side])
        console.print(
            f"whole run of {result.epochs} epochs, {side}: {shown} s; test accuracy {accuracies} %"
        )


def _versions() -> dict[str, str]:
    names = ("clsbench", "clsbench-transformers", "torch", "transformers")
    versions = {name: metadata.version(name) for name in names}
    return {**versions, "python": platform.python_version(), "commit": git_commit() or "unknown"}


if __name__ == "__main__":
    main()
