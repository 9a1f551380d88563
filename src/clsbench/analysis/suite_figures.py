"""A suite's rows in figures: accuracies over seeds, what was published, and who is shown better."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clsbench.analysis.comparison import (
    Contender,
    Pair,
    RunComparison,
    compare_runs,
    training_cost,
)
from clsbench.analysis.figures import ACCURACY
from clsbench.analysis.seeds import SPLITS, Spread, accuracy_interval, spread
from clsbench.analysis.shared_texts import sharing_texts
from clsbench.errors import UsageError
from clsbench.results.predictions import read_answers
from clsbench.results.store import StoredRun, read_record
from clsbench.results.suite_results import RowResult, SuiteResults
from clsbench.schema.record import RunRecord, SplitMetrics

_MUCH_MEMORY = 2 * 10**9
"""Bytes. What libraries take, which nobody expects of a run, is little beside it."""


class RowFigures(NamedTuple):
    """A row and its finished runs that could be read.

    ``accuracy`` by split over the seeds; ``interval`` of the test accuracy as
    :func:`~clsbench.analysis.seeds.accuracy_interval` gives it. ``against_first`` compares it with
    the first row that is in the comparison. Everything but the row itself is empty where there is
    no run.
    """

    row: RowResult
    runs: tuple[StoredRun, ...]
    accuracy: Mapping[str, Spread]
    interval: tuple[float, float] | None
    contender: Contender | None
    against_first: Pair | None

    @property
    def record(self) -> RunRecord | None:
        """The record of the first run."""
        return self.runs[0].record if self.runs else None

    def mean_seconds(self) -> float | None:
        """What all phases took together, on average over the runs."""
        sums = [sum(run.record.phases_seconds.values()) for run in self.runs]
        return sum(sums) / len(sums) if sums else None

    def seconds_over_estimate(self) -> float | None:
        """Training, evaluation and, where nobody had computed it before, the frozen prefix over
        what they were estimated at, for runs just done."""
        estimate = self.row.estimate
        fresh = [run for run in self.runs if run.path.name not in self.row.stored]
        if estimate is None or not fresh or self.row.same_as is not None:
            return None
        phases = ["training", "evaluation"]
        expected = estimate.training_seconds + estimate.evaluation_seconds
        if not any(training_cost([run]).prefix_found for run in fresh):
            phases.append("prefix")
            expected += estimate.prefix_seconds
        taken = [run.record.phases_seconds.get(name, 0.0) for run in fresh for name in phases]
        return sum(taken) / len(fresh) / expected if expected else None

    def memory_over_estimate(self) -> float | None:
        """The peak of the process's memory over what was expected, for runs just done; ``None``
        where that is little beside what libraries take, which nobody expects."""
        ratios = []
        for run in self.runs:
            peak, expected = run.record.peak_memory_bytes, run.record.memory_bytes_expected
            if peak and expected and expected >= _MUCH_MEMORY:
                ratios += [peak / expected] if run.path.name not in self.row.stored else []
        return max(ratios, default=None) if self.row.same_as is None else None

    def difference_from_published(self, split: str) -> float | None:
        """Measured minus published accuracy, where there are both and of one experiment."""
        published = self.row.published
        if (
            self.row.modified
            or published is None
            or split not in published.accuracy
            or split not in self.accuracy
        ):
            return None
        return self.accuracy[split].mean - published.accuracy[split]


class SuiteFigures(NamedTuple):
    """The rows of a suite; ``comparison`` sets all that have runs, and the baselines, side by side.

    ``comparison`` is ``None`` where fewer than two can be compared, and ``problems`` says why, and
    which runs could not be read. ``reference`` is the label of the row the others are set against.
    """

    results: SuiteResults
    rows: tuple[RowFigures, ...]
    comparison: RunComparison | None
    reference: str | None
    problems: tuple[str, ...]

    def estimates_in_words(self) -> str | None:
        """How far off the estimates were for what was just run; ``None`` where nothing was."""
        times = [t for row in self.rows if (t := row.seconds_over_estimate()) is not None]
        if not times:
            return None
        told = (
            f"The runs took {_middle_and_range(times)} times as long as estimated (training and "
            "evaluation, and frozen layers where they had to be computed)"
        )
        memory = [m for row in self.rows if (m := row.memory_over_estimate()) is not None]
        if memory:
            told += f", and {_middle_and_range(memory)} times the memory"
        return told + "."

    def missing_in_words(self) -> list[str]:
        """The rows of which not every seed has ended."""
        return [
            f"Row {row.row.label}: {row.row.waiting} of {len(row.row.runs) + row.row.waiting} runs "
            "are not done; what stands here is of the others."
            for row in self.rows
            if row.row.waiting and row.row.runs
        ]


def _middle_and_range(ratios: Sequence[float]) -> str:
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return f"{middle:.2f}" + (f" ({low:.2f} to {high:.2f})" if len(ratios) > 1 else "")


def suite_figures(results: SuiteResults, store: Path) -> SuiteFigures:
    """Read the runs of every row, and compare them."""
    problems: list[str] = []
    runs = {row.label: _read(row, store, problems) for row in results.rows}
    names: dict[str, str] = {}
    for row in results.rows:
        for run in runs[row.label]:
            before = names.get(run.path.name)
            names[run.path.name] = f"{before} = {row.label}" if before else f"row {row.label}"
    everything = {
        run.path: run
        for row in results.rows
        for run in runs[row.label]
        if _answered(row, run, problems)
    }
    comparison: RunComparison | None = None
    shared = sharing_texts(list(everything.values()))
    if shared:
        within = {run.path for run in shared}
        problems += [
            f"row {row.label} is in no comparison: it answered other texts than the rows compared"
            for row in results.rows
            if any(run.path in everything.keys() - within for run in runs[row.label])
        ]
        try:
            comparison = compare_runs(shared, names)
        except UsageError as error:
            problems.append(str(error))
    contenders = {
        run: each for each in (comparison.contenders if comparison else ()) for run in each.runs
    }
    reference = next(
        (row.label for row in results.rows
         if any(run.path.name in contenders for run in runs[row.label])),
        next((row.label for row in results.rows if runs[row.label]), None),
    )  # fmt: skip
    of_reference = contenders.get(runs[reference][0].path.name) if reference is not None else None
    rows = tuple(
        _figures(row, runs[row.label], contenders, of_reference, comparison) for row in results.rows
    )
    return SuiteFigures(results, rows, comparison, reference, tuple(problems))


def _read(row: RowResult, store: Path, problems: list[str]) -> tuple[StoredRun, ...]:
    found = []
    for name in row.runs:
        try:
            found.append(StoredRun(store / name, read_record(store / name)))
        except UsageError as error:
            problems.append(f"row {row.label}: {error}")
    return tuple(found)


def _answered(row: RowResult, run: StoredRun, problems: list[str]) -> bool:
    """Whether its answers can be compared: damaged ones take no others with them."""
    try:
        read_answers(run)
    except UsageError as error:
        problem = f"row {row.label} is in no comparison: {error}"
        if problem not in problems:
            problems.append(problem)
        return False
    return True


def _figures(
    row: RowResult,
    runs: Sequence[StoredRun],
    contenders: Mapping[str, Contender],
    reference: Contender | None,
    comparison: RunComparison | None,
) -> RowFigures:
    accuracy: dict[str, Spread] = {}
    for split in SPLITS:
        figures: list[SplitMetrics] = [
            getattr(run.record.metrics, split) for run in runs if run.record.metrics is not None
        ]
        over_seeds = spread([each.accuracy for each in figures], ACCURACY.limits)
        if over_seeds is not None:
            accuracy[split] = over_seeds
    contender = contenders.get(runs[0].path.name) if runs else None
    pair = None
    if comparison is not None and contender is not None and reference is not None:
        both = {contender.name, reference.name}
        pair = next((p for p in comparison.pairs if {p.a, p.b} == both), None)
    interval = contender.interval if contender is not None else _own_interval(runs)
    return RowFigures(row, tuple(runs), accuracy, interval, contender, pair)


def _own_interval(runs: Sequence[StoredRun]) -> tuple[float, float] | None:
    """Of a row that is in no comparison."""
    tests = [run.record.metrics.test for run in runs if run.record.metrics is not None]
    return accuracy_interval([test.accuracy for test in tests], tests[0].n) if tests else None
