"""The rows of a suite over several data sets: a comparison on each, and mean ranks over all.

A method consists of the rows that differ only in their data set, or of a baseline. Methods are
compared text by text on one data set at a time; over data sets, only their scores are ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import msgspec
import numpy as np

from clsbench.analysis.comparison import RunComparison, compare_runs
from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics
from clsbench.analysis.paired import Verdict
from clsbench.analysis.ranks import RankTest, differ, rank_scores, rank_test, tied_groups
from clsbench.analysis.shared_texts import sharing_texts, texts_keys
from clsbench.analysis.standing import baseline_title
from clsbench.results.store import StoredRun
from clsbench.results.suite_results import RowResult, SuiteResults
from clsbench.schema.changes import changes_text
from clsbench.schema.experiment import component_table, fingerprint, format_component


class RankedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A data set on which methods are ranked: a short name, and the resolved component."""

    name: str
    component: str
    train_texts: int
    test_texts: int
    classes: int


class RankedMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A method with its score and its rank on each data set.

    ``rows`` are the labels of its rows, empty for a baseline. ``verdict`` is that against the best
    method; it is ``None`` for the best itself, and without a test.
    """

    name: str
    rows: tuple[str, ...]
    scores: tuple[float, ...]
    ranks: tuple[float, ...]
    mean_rank: float
    verdict: Verdict | None


class Ranks(msgspec.Struct, frozen=True, kw_only=True):
    """The methods by mean rank, the best first; of two, the one that the test finds better.

    The scores are those of ``metric`` on the test texts. ``test`` is ``None`` with too few data
    sets. ``tied`` holds groups of methods that do not differ significantly, as places of the first
    and the last. ``left_out`` names methods and data sets that are not ranked, with the reason.
    """

    metric: MetricInfo = ACCURACY
    datasets: tuple[RankedDataset, ...]
    methods: tuple[RankedMethod, ...]
    test: RankTest | None
    tied: tuple[tuple[int, int], ...] = ()
    left_out: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()


class RankedRow(NamedTuple):
    """The data set of a row or a baseline, its rank there, and the mean rank of its method."""

    dataset: str
    rank: float | None = None
    mean_rank: float | None = None


class DatasetRanks(NamedTuple):
    """The ranks, and for each ranked data set by name the runs and their comparison.

    ``datasets`` has the name of the data set of every row by label.
    """

    ranks: Ranks
    runs: Mapping[str, Sequence[StoredRun]]
    comparisons: Mapping[str, RunComparison]
    datasets: Mapping[str, str]

    def of_row(self, row: RowResult) -> RankedRow:
        """The ranks of a row."""
        label = row.same_as or row.label
        method = next((each for each in self.ranks.methods if label in each.rows), None)
        return self._place(self.datasets[row.label], method)

    def of_baseline(self, title: str, dataset: str) -> RankedRow:
        """The ranks of a baseline on a data set."""
        found = (each for each in self.ranks.methods if not each.rows and each.name == title)
        return self._place(dataset, next(found, None))

    def _place(self, dataset: str, method: RankedMethod | None) -> RankedRow:
        names = [each.name for each in self.ranks.datasets]
        if method is None or dataset not in names:
            return RankedRow(dataset)
        return RankedRow(dataset, method.ranks[names.index(dataset)], method.mean_rank)


def dataset_ranks(
    results: SuiteResults,
    runs: Mapping[str, Sequence[StoredRun]],
    metrics: ShownMetrics | None = None,
) -> DatasetRanks | None:
    """The mean ranks of a suite's methods; ``None`` without two methods on two data sets.

    ``runs`` are the runs that can be compared by the label of their row. A data set without any
    result is left out, and so is a method that has no result on one of the others. The primary one
    of ``metrics`` (default: the accuracy) is ranked.

    Raises:
        UndefinedMetricError: the primary metric is undefined for the test texts of a data set.
    """
    grid = _grid(results)
    left_out: list[str] = []
    used = _runs_by_dataset(grid, runs, left_out)
    if len(used) < 2:
        return None
    comparisons = {
        dataset: compare_runs(
            shared,
            {run.path.name: name for name, by_dataset in grid.items() if dataset in by_dataset
             for run in runs[by_dataset[dataset].label]},
            allow_single=True,
            metrics=metrics,
        )
        for dataset, shared in used.items()
    }  # fmt: skip
    scores = _scores(comparisons)
    complete = {}
    for key, found in scores.items():
        if missing := [dataset for dataset in used if dataset not in found]:
            left_out.append(f"{key.name}: no result on {', '.join(missing)}")
        else:
            complete[key] = [found[dataset] for dataset in used]
    if len(complete) < 2 or all(key.baseline for key in complete):
        return None
    rows = {name: [row.label for dataset, row in by_dataset.items() if dataset in used]
            for name, by_dataset in grid.items()}  # fmt: skip
    ranks = rank_methods(complete, rows, metrics.primary if metrics is not None else ACCURACY)
    of_rows = {row.label: dataset for by_dataset in grid.values()
               for dataset, row in by_dataset.items()}  # fmt: skip
    return DatasetRanks(
        msgspec.structs.replace(
            ranks,
            datasets=tuple(_described(name, shared) for name, shared in used.items()),
            left_out=tuple(left_out),
            stand_ins=tuple(dict.fromkeys(
                each.by for shared in used.values() for run in shared
                for each in run.record.stand_ins)),
        ),
        used,
        comparisons,
        {row.label: of_rows[row.same_as or row.label] for row in results.rows},
    )  # fmt: skip


# --- rows by method and data set ------------------------------------------------------------------


def _grid(results: SuiteResults) -> dict[str, dict[str, RowResult]]:
    """The rows by the names of their method and data set; empty if most methods have no row on
    some data set, since the rows are then not the same methods on several data sets."""
    rows = [row for row in results.rows if row.same_as is None]
    parts = [_split(row.changes) for row in rows]
    datasets = {fingerprint(dataset): dataset for _, dataset in parts}
    names = dict(zip(datasets, _short_names([*datasets.values()]), strict=True))
    grid: dict[str, dict[str, RowResult]] = {}
    for row, (method, dataset) in zip(rows, parts, strict=True):
        by_dataset = grid.setdefault(fingerprint(method), {})
        by_dataset.setdefault(names[fingerprint(dataset)], row)
    complete = [each for each in grid.values() if len(each) == len(names)]
    if len(names) < 2 or 2 * len(complete) < len(grid):
        return {}
    titles: list[str] = []
    for by_dataset in grid.values():
        row = next(iter(by_dataset.values()))
        title = _method_name(row) or Path(results.base).stem
        same = sum(each == title or each.startswith(f"{title} (") for each in titles)
        titles.append(f"{title} ({same + 1})" if same else title)
    return dict(zip(titles, grid.values(), strict=True))


def _split(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes of a row without those that select its data set, and these."""
    of_data = {k: v for k, v in changes.items() if k.partition(".")[0] == "dataset"}
    return {k: v for k, v in changes.items() if k not in of_data}, of_data


def _short_names(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each data set: the component's, or the options in which they differ.

    A path is shortened to its last part.
    """
    tables = [_table(each) for each in datasets]
    keys = dict.fromkeys(key for table in tables for key in table)
    differing = [k for k in keys if len({str(table.get(k)) for table in tables}) > 1]
    if "name" in differing:
        differing = ["name"]
    names = [
        " ".join(PurePath(str(table[k])).name for k in differing if k in table) for table in tables
    ]
    if all(names) and len(set(names)) == len(names):
        return names
    return [changes_text(each).removeprefix("dataset=") for each in datasets]


def _table(changes: Mapping[str, Any]) -> dict[str, Any]:
    chosen = changes.get("dataset")
    table = dict(component_table(chosen)) if chosen is not None else {}
    return table | {k.partition(".")[2]: v for k, v in changes.items() if k != "dataset"}


def _method_name(row: RowResult) -> str:
    """The title without the part that names the data set."""
    title = row.title
    for key, value in _split(row.changes)[1].items():
        part = changes_text({key: value})
        for before, after in ((f", {part}", ""), (f"{part}, ", ""), (part, "")):
            title = title.replace(before, after)
    return title


def _runs_by_dataset(
    grid: Mapping[str, Mapping[str, RowResult]],
    runs: Mapping[str, Sequence[StoredRun]],
    left_out: list[str],
) -> dict[str, list[StoredRun]]:
    """The runs on each data set that share their test texts with no other data set."""
    found: dict[str, list[StoredRun]] = {}
    by_texts: dict[str, str] = {}
    for dataset in dict.fromkeys(name for by_dataset in grid.values() for name in by_dataset):
        rows = [each[dataset] for each in grid.values() if dataset in each]
        shared = sharing_texts([run for row in rows for run in runs[row.label]])
        if not shared:
            reason = next((error for row in rows for error in row.errors), "no results yet")
            left_out.append(f"data set {dataset}: {reason}")
        elif (same := by_texts.setdefault(texts_keys(shared)[0], dataset)) != dataset:
            left_out.append(f"data set {dataset}: its test texts are those of {same}")
        else:
            found[dataset] = shared
    return found


def _described(name: str, runs: Sequence[StoredRun]) -> RankedDataset:
    data = runs[0].record.data
    assert data is not None
    return RankedDataset(
        name=name,
        component=format_component(runs[0].record.spec["dataset"]),
        train_texts=data.sizes["train"],
        test_texts=data.sizes["test"],
        classes=len(data.class_names),
    )


# --- ranks ----------------------------------------------------------------------------------------


class Method(NamedTuple):
    """The name of a method, and whether it is a baseline."""

    name: str
    baseline: bool


def _scores(comparisons: Mapping[str, RunComparison]) -> dict[Method, dict[str, float]]:
    """The scores of each method by data set, as far as they are known."""
    found: dict[Method, dict[str, float]] = {}
    for dataset, comparison in comparisons.items():
        for each in comparison.contenders:
            title = each.name if each.runs else baseline_title(comparison, each)
            by_dataset = found.setdefault(Method(title, not each.runs), {})
            if each.score is not None:
                by_dataset[dataset] = each.score
    return found


def rank_methods(
    complete: Mapping[Method, Sequence[float]],
    rows: Mapping[str, Sequence[str]],
    metric: MetricInfo,
) -> Ranks:
    """The methods in the order of their mean ranks, from their scores on each data set."""
    scores = metric.sign * np.array([*complete.values()]).T
    ranks, test = rank_scores(scores), rank_test(scores)
    means = [float(mean) for mean in ranks.mean(axis=0)]
    better = test.better if test is not None and test.significant else None
    best, *others = sorted(
        range(len(means)), key=lambda place: (better not in (None, place), means[place])
    )
    verdicts: dict[int, Verdict] = {}
    if test is not None:
        verdicts = {place: "worse" if differ(means[best], means[place], test)
                    else "no difference shown" for place in others}  # fmt: skip
    methods = list(complete)
    return Ranks(
        metric=metric,
        datasets=(),
        methods=tuple(
            RankedMethod(
                name=methods[place].name,
                rows=() if methods[place].baseline else tuple(rows[methods[place].name]),
                scores=tuple(complete[methods[place]]),
                ranks=tuple(ranks[:, place].tolist()),
                mean_rank=means[place],
                verdict=verdicts.get(place),
            )
            for place in (best, *others)
        ),
        test=test,
        tied=tuple(tied_groups(sorted(means), test)) if test is not None else (),
    )
