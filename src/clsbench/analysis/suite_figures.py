"""The results of a suite's rows: accuracies over seeds, published ones, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clsbench.analysis.comparison import (
    Contender,
    Pair,
    RunComparison,
    compare_runs,
)
from clsbench.analysis.dataset_ranks import DatasetRanks, Ranks, dataset_ranks
from clsbench.analysis.figures import (
    ShownMetrics,
    shown_metrics,
)
from clsbench.analysis.learning_curves import (
    LearningCurves,
    Row,
    SizedComparisons,
    learning_curves,
)
from clsbench.analysis.row_figures import RowFigures, baseline_tests, contender_figures, row_figures
from clsbench.analysis.shared_texts import sharing_texts
from clsbench.analysis.standing import baseline_title, standing, trained
from clsbench.analysis.tuning import has_budget
from clsbench.components.catalog import Catalog
from clsbench.errors import UndefinedMetricError, UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun, read_record
from clsbench.results.suite_results import RowResult, SuiteResults


class SuiteFigures(NamedTuple):
    """The rows of a suite, the baselines, and their comparison.

    ``comparison`` is ``None`` if fewer than two can be compared. ``problems`` lists the reasons,
    and runs that could not be read. ``reference`` is the label of the row that the others are
    compared with, ``best`` that of the best row in the comparison by the primary one of
    ``metrics``. ``curves`` is set if rows differ only in their number of training texts;
    ``baselines`` are then those of the largest number, ``further_baselines`` the others.

    ``ranks`` is set if the rows are methods on several data sets. Nothing is then compared across
    them: ``comparison`` is ``None``, and all baselines are in ``further_baselines``.
    """

    results: SuiteResults
    metrics: ShownMetrics
    rows: tuple[RowFigures, ...]
    baselines: tuple[RowFigures, ...]
    comparison: RunComparison | None
    reference: str | None
    best: str | None
    problems: tuple[str, ...]
    curves: LearningCurves | None = None
    further_baselines: tuple[RowFigures, ...] = ()
    ranks: Ranks | None = None

    def missing_in_words(self) -> list[str]:
        """Notes on rows with seeds that have not finished."""
        return [
            f"Row {row.row.label}: {row.row.waiting} of {len(row.row.runs) + row.row.waiting} runs "
            "have not finished; the results are those of the others."
            for row in self.rows
            if row.row.waiting and row.row.runs
        ]


def suite_figures(
    results: SuiteResults, store: Path, catalog: Catalog, metric: str | None = None
) -> SuiteFigures:
    """Read the runs of every row and compare them.

    ``metric`` is the primary metric (default: that which the suite was run with, else that of the
    rows' experiments).

    Raises:
        UndefinedMetricError: the primary metric is undefined for the test texts.
        UsageError: the metric does not exist.
    """
    problems: list[str] = []
    runs = {row.label: _read(row, store, problems) for row in results.rows}
    records = [run.record for row in results.rows for run in runs[row.label]]
    metrics = shown_metrics(catalog, records, metric or results.for_all.get("metric"))
    names: dict[str, str] = {}
    for row in results.rows:
        for run in runs[row.label]:
            before = names.get(run.path.name)
            names[run.path.name] = f"{before} = {row.label}" if before else f"row {row.label}"
    everything = {
        run.path: run
        for row in results.rows
        for run in runs[row.label]
        if has_budget(row, results, problems) and _has_predictions(row, run, problems)
    }
    usable = {
        label: [run for run in found if run.path in everything] for label, found in runs.items()
    }
    if (over := dataset_ranks(results, usable, metrics)) is not None:
        return _over_datasets(results, metrics, runs, over, problems)
    comparison: RunComparison | None = None
    sized: SizedComparisons | None = None
    shared = sharing_texts(list(everything.values()))
    if shared:
        within = {run.path for run in shared}
        problems += [
            f"row {row.label} is not compared: it was evaluated on different test texts"
            for row in results.rows
            if any(run.path in everything.keys() - within for run in runs[row.label])
        ]
        try:
            comparison = compare_runs(shared, names, metrics=metrics)
        except UndefinedMetricError:
            raise
        except UsageError as error:
            problems.append(str(error))
        sized = learning_curves([
            Row(row.title, found)
            for row in results.rows
            if row.same_as is None
            and (found := tuple(run for run in runs[row.label] if run.path in within))
        ], results.tune.space if results.tune is not None else (), metrics)  # fmt: skip
    contenders = {
        run: each for each in (comparison.contenders if comparison else ()) for run in each.runs
    }
    compared = {
        row.label: each
        for row in results.rows
        if runs[row.label] and (each := contenders.get(runs[row.label][0].path.name)) is not None
    }
    reference = next(
        iter(compared), next((row.label for row in results.rows if runs[row.label]), None)
    )
    ranked = trained(comparison) if comparison is not None else []
    best = next((label for label, each in compared.items() if each is ranked[0]), None)

    def pairs(each: Contender) -> dict[str, Pair | None]:
        if comparison is None or reference is None or best is None:
            return {}
        against = {"against_first": reference, "against_best": best}
        return {
            name: standing(comparison, each.name, compared[label].name)
            for name, label in against.items()
        }

    most = max((run.record.data.sizes["train"] for run in shared if run.record.data), default=None)
    return SuiteFigures(
        results,
        metrics,
        tuple(
            row_figures(row, runs[row.label], compared.get(row.label), pairs, results.tune, metrics)
            for row in results.rows
        ),
        tuple(
            contender_figures(
                each,
                title=baseline_title(comparison, each),
                tests=baseline_tests(everything.values(), each.name, most),
                fitted_on=most,
                **pairs(each),
            )
            for each in (comparison.contenders if comparison is not None else ())
            if comparison is not None and not each.runs
        ),
        comparison,
        reference,
        best,
        tuple(problems),
        sized.curves if sized is not None else None,
        tuple(
            contender_figures(
                each,
                title=baseline_title(found, each),
                tests=baseline_tests(everything.values(), each.name, size),
                fitted_on=size,
            )
            for size, found in (sized.comparisons if sized is not None else {}).items()
            for each in found.contenders
            if size != most and not each.runs
        ),
    )


def _over_datasets(
    results: SuiteResults,
    metrics: ShownMetrics,
    runs: Mapping[str, tuple[StoredRun, ...]],
    over: DatasetRanks,
    problems: Sequence[str],
) -> SuiteFigures:
    contenders = {
        run: each
        for comparison in over.comparisons.values()
        for each in comparison.contenders
        for run in each.runs
    }
    rows = []
    for row in results.rows:
        found = (contenders.get(run.path.name) for run in runs[row.label])
        contender = next(filter(None, found), None)
        figures = row_figures(row, runs[row.label], contender, lambda _: {}, results.tune, metrics)
        rows.append(figures._replace(ranked=over.of_row(row)))
    baselines = []
    for dataset, comparison in over.comparisons.items():
        (size,) = {each.train_texts for each in over.ranks.datasets if each.name == dataset}
        for each in comparison.contenders:
            title = baseline_title(comparison, each)
            if not each.runs:
                known = {
                    "title": f"{title}, {dataset}",
                    "tests": baseline_tests(over.runs[dataset], each.name, size),
                    "fitted_on": size,
                    "ranked": over.of_baseline(title, dataset),
                }
                baselines.append(contender_figures(each, **known))
    return SuiteFigures(
        results, metrics, tuple(rows), (), None, None, None, tuple(problems),
        further_baselines=tuple(baselines), ranks=over.ranks,
    )  # fmt: skip


def _read(row: RowResult, store: Path, problems: list[str]) -> tuple[StoredRun, ...]:
    found = []
    for name in row.runs:
        try:
            found.append(StoredRun(store / name, read_record(store / name)))
        except UsageError as error:
            problems.append(f"row {row.label}: {error}")
    return tuple(found)


def _has_predictions(row: RowResult, run: StoredRun, problems: list[str]) -> bool:
    """Whether the run's predictions can be read; if not, the reason is added to ``problems``."""
    try:
        read_predictions(run)
    except UsageError as error:
        problem = f"row {row.label} is not compared: {error}"
        if problem not in problems:
            problems.append(problem)
        return False
    return True
