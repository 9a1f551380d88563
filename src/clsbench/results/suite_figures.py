"""A suite's rows in figures: accuracies over seeds, what was published, and who is shown better."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clsbench.errors import UsageError
from clsbench.record import RunRecord, SplitMetrics
from clsbench.results.answers import read_answers
from clsbench.results.comparison import Contender, Pair, RunComparison, compare_runs
from clsbench.results.seeds import FRACTION, SPLITS, Spread, spread
from clsbench.results.store import StoredRun, read_record
from clsbench.results.suite_results import RowResult, SuiteResults


class RowFigures(NamedTuple):
    """A row and its finished runs that could be read.

    ``accuracy`` by split over the seeds; ``interval`` of the test accuracy: Wilson's for one run,
    Student's over seeds for three and more. ``against_first`` compares it with the first row that
    has runs. Everything but the row itself is empty where there is no run.
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

    def mean_seconds(self, *phases: str) -> float | None:
        """What these phases took, summed, on average over the runs; all phases if none is named."""
        if not self.runs:
            return None
        sums = [
            sum(s for name, s in run.record.phases_seconds.items() if not phases or name in phases)
            for run in self.runs
        ]
        return sum(sums) / len(sums)

    def seconds_over_estimate(self) -> float | None:
        """Training and evaluation over what they were estimated at, for runs just done.

        The prefix is left out: it may have been there, or shared.
        """
        estimate, seconds = self.row.estimate, self.mean_seconds("training", "evaluation")
        if estimate is None or seconds is None or set(self.row.runs) <= set(self.row.stored):
            return None
        return seconds / (estimate.training_seconds + estimate.evaluation_seconds)

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
        ratios = sorted(
            ratio for row in self.rows if (ratio := row.seconds_over_estimate()) is not None
        )
        if not ratios:
            return None
        return (
            f"Training and evaluation took {statistics.median(ratios):.2f} times as long as "
            f"estimated (median; {ratios[0]:.2f} to {ratios[-1]:.2f})."
        )

    def missing_in_words(self) -> list[str]:
        """The rows of which not every seed has ended."""
        return [
            f"Row {row.row.label}: {row.row.waiting} of {len(row.row.runs) + row.row.waiting} runs "
            "are not done; what stands here is of the others."
            for row in self.rows
            if row.row.waiting and row.row.runs
        ]


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
    if everything:
        try:
            comparison = compare_runs(list(everything.values()), names)
        except UsageError as error:
            problems.append(str(error))
    contenders = {
        run: each for each in (comparison.contenders if comparison else ()) for run in each.runs
    }
    reference = next((row.label for row in results.rows if runs[row.label]), None)
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
        read_answers(run.path, run.record.data.class_names if run.record.data else ())
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
        over_seeds = spread([each.accuracy for each in figures], FRACTION)
        if over_seeds is not None:
            accuracy[split] = over_seeds
    contender = contenders.get(runs[0].path.name) if runs else None
    pair = None
    if comparison is not None and contender is not None and reference is not None:
        both = {contender.name, reference.name}
        pair = next((p for p in comparison.pairs if {p.a, p.b} == both), None)
    return RowFigures(
        row, tuple(runs), accuracy, contender.interval if contender else None, contender, pair
    )
