"""Mean ranks of a suite's methods over several data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from report_examples import Row, make_figures, row_of_size, rows_on_datasets

from clsbench.analysis.dataset_ranks import Ranks
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.suite_table import brief_table, plain_figures, suite_table

TFIDF = "TF-IDF + logistic regression"
ACCURACIES = {
    "all": [0.97, 0.95, 0.96, 0.99, 0.95, 0.94],
    "head": [0.7, 0.8, 0.85, 0.8, 0.9, 0.7],
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> SuiteFigures:
    """Two methods and two baselines (0.5 and 0.9) on six data sets."""
    return make_figures(tmp_path_factory.mktemp("store"), rows_on_datasets(ACCURACIES))


def ranks_of(figures: SuiteFigures) -> Ranks:
    assert figures.ranks is not None
    return figures.ranks


def test_dataset_ranks_methods_are_rows_and_baselines_by_mean_rank(figures: SuiteFigures) -> None:
    ranks = ranks_of(figures)
    assert [each.name for each in ranks.datasets] == [f"{name}.csv" for name in "abcdef"]
    assert [(each.name, round(each.mean_rank, 3), each.verdict) for each in ranks.methods] == [
        ("all", 1, None),
        (TFIDF, 2.083, "no difference shown"),
        ("head", 2.917, "worse"),
        ("the most frequent class", 4, "worse"),
    ]
    best, tfidf, head, _ = ranks.methods
    assert best.scores == pytest.approx(ACCURACIES["all"])
    assert best.rows == ("1", "2", "3", "4", "5", "6")
    assert tfidf.rows == ()
    assert tfidf.ranks == (2, 2, 2, 2, 2.5, 2), "equal to head on e.csv"
    assert ranks.test is not None
    assert ranks.test.critical_difference == pytest.approx(1.915, abs=0.001)
    assert ranks.left_out == figures.problems == ()
    assert head.mean_rank - best.mean_rank > ranks.test.critical_difference
    assert ranks.tied == ((0, 1), (1, 2), (2, 3))


def test_dataset_ranks_texts_of_different_data_sets_are_not_compared(
    figures: SuiteFigures,
) -> None:
    assert figures.comparison is None
    assert figures.baselines == ()
    for row in (*figures.rows, *figures.further_baselines):
        assert (row.against_first, row.against_best) == (None, None)
        assert row.contender is not None
        assert row.contender.ranks is not None
        assert row.contender.ranks.worst <= 4, "tested on its own data set"
    assert figures.rows[0].contender is not figures.rows[1].contender


def test_suite_table_has_the_ranks_and_the_baselines_of_every_data_set(
    figures: SuiteFigures,
) -> None:
    table = suite_table(figures)
    assert len(table) == 6 * 4
    of_e = table[table["dataset"] == "e.csv"]
    assert of_e["dataset_rank"].tolist() == [1, 2.5, 4, 2.5]
    assert of_e["mean_rank"].round(3).tolist() == [1, 2.917, 4, 2.083]
    assert {"dataset", "dataset_rank", "mean_rank"} <= {*brief_table(figures)}
    assert plain_figures(figures)["ranks"] is figures.ranks


def test_dataset_ranks_data_set_without_results_is_left_out(
    figures: SuiteFigures, tmp_path: Path
) -> None:
    rows = rows_on_datasets({name: found[:3] for name, found in ACCURACIES.items()})
    found = make_figures(tmp_path, rows)
    results = found.results
    broken = tuple(
        replace(row, runs=(), errors=("b.csv: not found",)) if "b.csv" in row.title else row
        for row in results.rows
    )
    ranks = ranks_of(read_again(found, tmp_path, broken))
    assert ranks.left_out == ("data set b.csv: b.csv: not found",)
    assert [each.name for each in ranks.datasets] == ["a.csv", "c.csv"]
    assert (ranks.test, ranks.tied) == (None, ())
    assert {each.verdict for each in ranks.methods} == {None}, "too few for a test"

    partly = tuple(replace(row, runs=()) if row.label == "5" else row for row in results.rows)
    ranks = ranks_of(read_again(found, tmp_path, partly))
    assert ranks.left_out == ("head: no result on b.csv",)
    assert [each.name for each in ranks.methods] == ["all", TFIDF, "the most frequent class"]


def read_again(figures: SuiteFigures, store: Path, rows: tuple[object, ...]) -> SuiteFigures:
    from metric_examples import CATALOG

    from clsbench.analysis.suite_figures import suite_figures

    return suite_figures(replace(figures.results, rows=rows), store, CATALOG)


def test_dataset_ranks_data_sets_with_the_same_test_texts_count_once(tmp_path: Path) -> None:
    rows = rows_on_datasets({"all": [0.9, 0.8, 0.7]})
    data = rows[1].record["data"]
    shared = replace(data, texts_sha256={**data.texts_sha256, "test": "test of a"})
    rows[1] = replace(rows[1], record={**rows[1].record, "data": shared})
    ranks = ranks_of(make_figures(tmp_path, rows))
    assert [each.name for each in ranks.datasets] == ["a.csv", "c.csv"]
    assert ranks.left_out == ("data set b.csv: its test texts are those of a.csv",)


@pytest.mark.parametrize(
    "rows",
    [
        [Row(title="all"), Row(title="head")],
        [row_of_size(16, 0.9), row_of_size(64, 0.9)],
        rows_on_datasets({"all": [0.9]}),
        [*rows_on_datasets({"all": [0.9, 0.8]}), *rows_on_datasets({"b": [0.9], "c": [0.9]})],
    ],
    ids=["no-data-set", "sizes", "one-data-set", "most-on-one"],
)
def test_dataset_ranks_of_other_suites_are_none(tmp_path: Path, rows: list[Row]) -> None:
    figures = make_figures(tmp_path, rows)
    assert figures.ranks is None
    assert figures.comparison is not None


def test_dataset_ranks_without_baselines_of_one_method_are_none(tmp_path: Path) -> None:
    assert make_figures(tmp_path, rows_on_datasets({"all": [0.9, 0.8]}), baselines=()).ranks is None


def test_dataset_ranks_method_names_lack_the_data_set_and_are_distinct(tmp_path: Path) -> None:
    rows = [
        replace(row, title=row.title.partition(", ")[2])
        for row in rows_on_datasets({"all": [0.9, 0.8], "head": [0.8, 0.7]})
    ]
    names = [each.name for each in ranks_of(make_figures(tmp_path, rows, baselines=())).methods]
    assert names == ["gpt2-sms-spam", "gpt2-sms-spam (2)"]
