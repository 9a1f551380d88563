"""Whole runs of five epochs with their evaluations: composed of measured parts, or run
completely."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from msgspec.structs import replace

from clsbench.bench.interleaving import FEWEST_PAIRS, Comparison, Race, RaceRules, interval, race
from clsbench.bench.load import LoadMeter
from clsbench.components.catalog import load_catalog
from clsbench.experiment.run import run_experiment
from clsbench.fastpath.prefix import ROWS_TRIED
from clsbench.schema.record import RunRecord
from our_side import OurSide
from peers import CPU, BookSide, book_loaders, ch06, make_book_model
from race_outcome import Part, Whole, WholeRun
from workload import Workload

OURS, BOOK = "clsbench", "book"
STEP = "step"
_NAMES = {
    "book evaluation": "evaluation and scoring batches",
    "evaluation": "evaluations",
    "scoring": "final scoring",
    "prefix": "prefix of every distinct row, computed and written to disk",
    "keys": "hash of the prefix's weights",
    "load": "loading the kept prefix, checked",
    "single row": "rows computed again, to be sure",
    "trial": "trial of the shortcuts",
}


def race_parts(ours: OurSide, book: BookSide, rules: RaceRules) -> Race:
    """Time the parts of a whole run besides its steps, on a sample of the texts."""
    calls = {
        "book evaluation": book.evaluation_batch,
        "evaluation": ours.evaluation,
        "scoring": ours.scoring,
        "trial": ours.trial,
    }
    if ours.cut:
        ours.keep()
        calls |= {
            "prefix": ours.cold_prefix,
            "keys": ours.keys,
            "load": ours.kept_prefix,
            "single row": ours.single_row,
        }
    return race(calls, rules)


def put_together(steps: Race, parts: Race, workload: Workload) -> Whole:
    """Compose the whole run from the medians of its parts and their numbers in the schedule."""
    amounts = workload.amounts
    share = amounts.prefix_positions / workload.sample_positions
    ours = {
        STEP: amounts.steps,
        "evaluation": amounts.evaluations,
        "scoring": amounts.scoring_positions / workload.sample_positions,
        "trial": 1,
    }
    book = {
        STEP: amounts.steps,
        "book evaluation": amounts.evaluation_batches + amounts.book_scoring_batches,
    }
    cold, kept = ours, None
    if workload.plan.epochs[0].cut:
        # During training, a row after the first step and after every epoch.
        again = 1 + workload.experiment.spec.train.epochs
        cold = {**ours, "keys": 1, "prefix": share, "single row": again}
        kept = {**ours, "keys": 1, "single row": ROWS_TRIED + again, "load": share}
    sums = _Sums(steps, parts)
    return Whole(
        cold=sums.compare(cold, book),
        kept=None if kept is None else sums.compare(kept, book),
        cold_parts=[*sums.parts(OURS, cold), *sums.parts(BOOK, book)],
        kept_parts=[] if kept is None else sums.parts(OURS, kept),
    )


class _Sums(NamedTuple):
    """Whole runs as weighted sums of medians."""

    steps: Race
    others: Race

    def samples(self, side: str, name: str) -> list[float]:
        if name == STEP:
            return self.steps.quiet_seconds(side)
        return self.others.quiet_seconds(name)

    def parts(self, side: str, times: dict[str, float]) -> list[Part]:
        found = []
        for name, count in times.items():
            samples = self.samples(side, name)
            enough = len(samples) >= FEWEST_PAIRS
            found.append(
                Part(
                    side=side,
                    name=_NAMES.get(name, "training steps"),
                    times=count,
                    samples=len(samples),
                    seconds=float(np.median(samples)) if enough else None,
                )
            )
        return found

    def compare(self, ours: dict[str, float], book: dict[str, float]) -> Comparison:
        """The ratio of the book's sum to ours, with an interval from the parts' samples."""
        samples = [self.samples(OURS, n) for n in ours] + [self.samples(BOOK, n) for n in book]
        fewest = min(map(len, samples))
        if fewest < FEWEST_PAIRS:
            return Comparison(fast=OURS, slow=BOOK, pairs=fewest)
        times = [*ours.values(), *book.values()]

        def sums(*parts: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
            medians = [
                count * np.median(part, axis=axis) for count, part in zip(times, parts, strict=True)
            ]
            return sum(medians[: len(ours)]), sum(medians[len(ours) :])  # type: ignore[return-value]

        def ratio(*parts: np.ndarray, axis: int) -> np.ndarray:
            fast, slow = sums(*parts, axis=axis)
            return slow / fast

        fast, slow = sums(*map(np.asarray, samples), axis=0)
        low, high = interval(ratio, samples)
        return Comparison(
            fast=OURS,
            slow=BOOK,
            pairs=fewest,
            fast_seconds=float(fast),
            slow_seconds=float(slow),
            ratio=float(slow / fast),
            low=low,
            high=high,
        )


# --- a whole run, done ----------------------------------------------------------------------------


def run_whole(workload: Workload, folder: Path) -> WholeRun:
    """Run ours without a kept prefix, again with the prefix that the first run kept, then the
    book's."""
    meter = LoadMeter()
    records: list[tuple[RunRecord, float]] = []
    catalog = load_catalog(list(workload.options.plugins))
    options = replace(workload.options, out=folder / "runs")
    with _cache_in(folder / "cache"):
        for _ in ("cold", "kept"):
            before = meter.look()
            record, _ = run_experiment(workload.experiment, options, catalog)
            records.append((record, meter.foreign_cores(before, meter.look())))
    (cold, cold_load), (kept, kept_load) = records
    before = meter.look()
    started = time.perf_counter()
    book_losses, book_accuracy = _run_book(workload, folder)
    book_seconds = time.perf_counter() - started
    our_losses = [x for e in cold.history.steps for x in (e.train_loss, e.validation_loss)]
    differences = [abs(a - b) for a, b in zip(our_losses, book_losses, strict=True)]
    early = 2 * sum(entry.step <= 50 for entry in cold.history.steps)
    assert cold.metrics is not None
    return WholeRun(
        book_seconds=book_seconds,
        cold_seconds=_compared_seconds(cold),
        kept_seconds=_compared_seconds(kept),
        book_foreign_cores=meter.foreign_cores(before, meter.look()),
        cold_foreign_cores=cold_load,
        kept_foreign_cores=kept_load,
        cold_phases_seconds=cold.phases_seconds,
        kept_phases_seconds=kept.phases_seconds,
        cold_peak_memory_bytes=cold.peak_memory_bytes,
        book_losses=book_losses,
        our_losses=our_losses,
        difference=max(differences),
        difference_within_50_steps=max(differences[:early]),
        book_accuracy=book_accuracy,
        our_accuracy={
            name: getattr(cold.metrics, name).accuracy for name in ("train", "validation", "test")
        },
    )


def _compared_seconds(record: RunRecord) -> float:
    """The work of the book's training loop and its final accuracies."""
    return sum(record.phases_seconds[name] for name in ("prefix", "training", "evaluation"))


def _run_book(workload: Workload, folder: Path) -> tuple[list[float], dict[str, float]]:
    """Run the book's training loop and compute its accuracies over all of its loaders."""
    spec = workload.experiment.spec
    model = make_book_model(workload, spec.seed)
    loaders = book_loaders(workload, folder)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=spec.train.lr, weight_decay=spec.train.weight_decay
    )
    torch.manual_seed(spec.seed)
    with contextlib.redirect_stdout(io.StringIO()):
        train, validation, *_ = ch06.train_classifier_simple(
            model, loaders["train"], loaders["validation"], optimizer, CPU,
            spec.train.epochs, spec.train.eval_every, spec.train.eval_batches,
        )  # fmt: skip
    accuracy = {n: ch06.calc_accuracy_loader(x, model, CPU) for n, x in loaders.items()}
    return [loss for pair in zip(train, validation, strict=True) for loss in pair], accuracy


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Use ``folder`` for activations instead of the user's cache."""
    before = os.environ.get("CLSBENCH_CACHE")
    os.environ["CLSBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CLSBENCH_CACHE"]
        else:
            os.environ["CLSBENCH_CACHE"] = before
