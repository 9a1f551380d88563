"""The results of one row of a suite, or of a baseline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from clsbench.analysis.comparison import Contender, Cost, Pair, training_cost
from clsbench.analysis.dataset_ranks import RankedRow
from clsbench.analysis.figures import (
    ACCURACY,
    WITHOUT_LEAKED,
    MetricInfo,
    ShownMetrics,
    mean_scores,
)
from clsbench.analysis.seeds import SPLITS, Spread, accuracy_interval, spread
from clsbench.analysis.sides import BASELINE
from clsbench.analysis.tuning import Choice, choice
from clsbench.results.store import StoredRun
from clsbench.results.suite_results import RowResult
from clsbench.schema.record import RunRecord, SplitMetrics
from clsbench.schema.tuning import TuneSpec


class RowFigures(NamedTuple):
    """A row of a suite with its finished runs that could be read, or a baseline.

    The ``row`` of a baseline has only a name; ``title`` is for display. ``accuracy`` holds the
    accuracy over seeds by split, ``values`` the primary metric on the test texts by seed,
    ``interval`` is that of its mean, and ``tests`` has the metrics on the test texts by seed.
    ``others`` are the metrics besides the accuracy and the primary one. ``against_first`` compares
    it with the first row in the comparison, ``against_best`` with the best. ``choice`` is what was
    chosen for a tuned row, ``fitted_on`` the number of training texts of a baseline, ``ranked`` its
    data set and ranks if the suite has several data sets. Without runs, all fields but ``row`` and
    ``title`` are empty.
    """

    row: RowResult
    title: str
    runs: tuple[StoredRun, ...] = ()
    accuracy: Mapping[str, Spread] = MappingProxyType({})
    values: tuple[float, ...] = ()
    others: tuple[MetricInfo, ...] = ()
    interval: tuple[float, float] | None = None
    tests: tuple[SplitMetrics, ...] = ()
    contender: Contender | None = None
    against_first: Pair | None = None
    against_best: Pair | None = None
    choice: Choice | None = None
    run_cost: Cost = Cost(None, False)
    fitted_on: int | None = None
    ranked: RankedRow = RankedRow("")

    @property
    def label(self) -> str:
        """The label for ``--rows``; empty for a baseline."""
        return self.row.label

    @property
    def baseline(self) -> bool:
        """Whether it is a baseline."""
        return self.contender is not None and not self.contender.runs

    @property
    def record(self) -> RunRecord | None:
        """The record of the first run."""
        return self.runs[0].record if self.runs else None

    @property
    def train_texts(self) -> int | None:
        """The number of training texts."""
        data = self.record.data if self.record is not None else None
        return data.sizes["train"] if data is not None else self.fitted_on

    @property
    def state(self) -> str:
        """``finished``, ``in part``, ``does not apply``, ``failed``, ``being tuned`` or ``not
        run``."""
        if self.record is not None or self.contender is not None:
            return "in part" if self.row.errors or self.row.waiting else "finished"
        if self.row.not_applicable is not None:
            return "does not apply"
        tuning = self.row.tuning is not None and any(t.ended for t in self.row.tuning.trials)
        return "failed" if self.row.errors else "being tuned" if tuning else "not run"

    @property
    def test_accuracy(self) -> float:
        """The mean over seeds; NaN without a run."""
        if "test" in self.accuracy:
            return self.accuracy["test"].mean
        return self.contender.accuracy if self.contender is not None else math.nan

    @property
    def score(self) -> float:
        """The primary metric on the test texts, the mean over seeds; NaN if it is unknown."""
        if self.contender is not None:
            return math.nan if self.contender.score is None else self.contender.score
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def score_sd(self) -> float | None:
        """The standard deviation of the primary metric over seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def scores(self) -> Mapping[str, float]:
        """The other metrics on the test texts by column, means over seeds."""
        if self.contender is not None:
            return self.contender.scores
        return mean_scores(self.tests, self.others)

    @property
    def accuracy_without_leaked(self) -> float | None:
        """The mean over seeds of the accuracy on test texts that are not in the training split."""
        found = [v for each in self.tests if (v := WITHOUT_LEAKED.read(each)) is not None]
        if self.contender is not None:
            return self.contender.accuracy_without_leaked
        return statistics.fmean(found) if found else None

    @property
    def cost(self) -> Cost:
        """The time to compute the frozen layers and to train; for a baseline, its total time."""
        if self.runs or self.contender is None:
            return self.run_cost
        if self.contender.baseline_seconds is not None:
            return Cost(self.contender.baseline_seconds, False)
        return Cost(self.contender.prefix_and_training_seconds, self.contender.prefix_found)

    @property
    def seconds(self) -> float:
        """The seconds of ``cost``; NaN if they are unknown."""
        return math.nan if self.cost.seconds is None else self.cost.seconds

    @property
    def prefix_found(self) -> bool:
        """Whether every run reused cached activations; from scratch it takes longer."""
        return self.cost.prefix_found

    def mean_seconds(self) -> float | None:
        """The total time of all phases, a mean over the runs."""
        sums = [sum(run.record.phases_seconds.values()) for run in self.runs]
        return sum(sums) / len(sums) if sums else None

    def difference_from_published(self, split: str) -> float | None:
        """Measured minus published accuracy; ``None`` for a modified row or without either."""
        published = self.row.published
        if (
            self.row.modified
            or published is None
            or split not in published.accuracy
            or split not in self.accuracy
        ):
            return None
        return self.accuracy[split].mean - published.accuracy[split]


def contender_figures(each: Contender, **known: Any) -> RowFigures:
    """The results of a contender that is not a row of a suite."""
    row = RowResult(label="", title=each.name, changes={}, published=None)
    figures = RowFigures(row, each.name, interval=each.interval, contender=each)
    return figures._replace(**known)


def baseline_tests(
    runs: Iterable[StoredRun], name: str, train_texts: int | None
) -> tuple[SplitMetrics, ...]:
    """The metrics of a baseline on the test texts, from the first run that has them."""
    component = name.removeprefix(BASELINE)
    return tuple(
        each.metrics.test
        for run in runs
        if run.record.data is None or run.record.data.sizes["train"] == train_texts
        for each in run.record.baselines
        if each.component == component
    )[:1]


def row_figures(
    row: RowResult,
    runs: tuple[StoredRun, ...],
    contender: Contender | None,
    pairs: Callable[[Contender], Mapping[str, Any]],
    tune: TuneSpec | None,
    metrics: ShownMetrics,
) -> RowFigures:
    """The results of a row; ``contender`` is its part in the comparison, if it has one.

    ``pairs`` gives the fields of a contender that compare it with others.
    """
    found = [run.record.metrics for run in runs if run.record.metrics is not None]
    by_split: dict[str, list[float]] = {
        split: [getattr(each, split).accuracy for each in found] for split in SPLITS
    }
    spreads = {split: spread(values, ACCURACY.limits) for split, values in by_split.items()}
    primary = metrics.primary
    values = [v for each in found if (v := primary.read(each.test)) is not None]
    interval = contender.interval if contender is not None else None
    if contender is None and found:  # not in the comparison
        if primary.name == ACCURACY.name:
            interval = accuracy_interval(by_split["test"], found[0].test.n)
        elif len(found) == 1:
            interval = found[0].test.intervals.get(primary.name)
    return RowFigures(
        row,
        row.title,
        runs,
        accuracy={split: each for split, each in spreads.items() if each is not None},
        values=tuple(values),
        others=metrics.others,
        interval=interval,
        tests=tuple(each.test for each in found),
        contender=contender,
        choice=choice(row, tune, metrics),
        run_cost=training_cost(runs) if runs else Cost(None, False),
        **(pairs(contender) if contender is not None else {}),
    )
