"""Learning curves: lines, tests at each size, and crossovers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from report_examples import Row, make_figures, row_of_size

from clsbench.analysis.learning_curves import LearningCurves, learning_curves
from clsbench.analysis.learning_curves import Row as LineRow
from clsbench.analysis.paired import holm
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.suite_table import brief_table, plain_figures, suite_table

TFIDF = "TF-IDF + logistic regression"


def figures_of(store: Path, **accuracies: list[float]) -> SuiteFigures:
    """A suite of rows (``all``, ``head`` …) at 16, 64 and 256 texts; baselines at 0.5 and 0.9."""
    rows = [
        row_of_size(size, accuracy, freezing)
        for freezing, found in accuracies.items()
        for size, accuracy in zip((16, 64, 256), found, strict=False)
    ]
    return make_figures(store, rows)


def curves_of(figures: SuiteFigures) -> LearningCurves:
    assert figures.curves is not None
    return figures.curves


def test_learning_curves_lines_are_rows_and_baselines_by_size(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, all=[0.6, 0.9, 0.98], head=[0.8, 0.85])
    curves = curves_of(figures)
    assert [(line.name, line.baseline) for line in curves.lines] == [
        ("all", False),
        ("head", False),
        ("the most frequent class", True),
        (TFIDF, True),
    ]
    first, second, _, tfidf = curves.lines
    assert [(p.train_texts, round(p.score, 3)) for p in first.points] == [
        (16, 0.6), (64, 0.9), (256, 0.98),
    ]  # fmt: skip
    assert [p.train_texts for p in second.points] == [16, 64]
    assert [p.score for p in tfidf.points] == pytest.approx([0.9] * 3)
    assert first.points[0].interval[0] < 0.6 < first.points[0].interval[1]
    assert first.points[0].seeds == (123,)
    assert curves.sizes() == [16, 64, 256]


def test_learning_curves_crossover_is_interpolated_on_a_logarithmic_scale(tmp_path: Path) -> None:
    curves = curves_of(figures_of(tmp_path, all=[0.8, 0.85, 0.95]))
    pair = curves.pair(TFIDF, "all")
    assert pair is not None
    assert [round(each.difference, 3) for each in pair.tests] == [-0.1, -0.05, 0.05]
    assert pair.crossover is not None
    assert (pair.crossover.after, pair.crossover.before) == (64, 256)
    assert pair.crossover.estimate == pytest.approx(128)
    turned = curves.pair("all", TFIDF)
    assert turned is not None
    assert turned.tests[0].verdict == "better"
    assert turned.crossover == pair.crossover


def test_learning_curves_line_that_leads_again_has_no_crossover(tmp_path: Path) -> None:
    pair = curves_of(figures_of(tmp_path, all=[0.95, 0.85, 0.95])).pair(TFIDF, "all")
    assert pair is not None
    assert (pair.changes, pair.crossover) == (2, None)


def test_learning_curves_tests_are_corrected_over_all_pairs_and_sizes(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, all=[0.8, 0.86, 0.93], head=[0.84, 0.85, 0.86])
    sized = learning_curves([LineRow(row.title, row.runs) for row in figures.rows])
    assert sized is not None
    assert sized.curves == figures.curves
    found = {
        (size, round(abs(pair.found.difference), 6)): pair.found.p
        for size, comparison in sized.comparisons.items()
        for pair in comparison.pairs
        if pair.found is not None
    }
    tests = [test for pair in sized.curves.pairs for test in pair.tests]
    assert len(tests) == 18
    raw = [found[test.train_texts, round(abs(test.difference), 6)] for test in tests]
    assert [test.p_corrected for test in tests] == pytest.approx(holm(raw))


@pytest.mark.parametrize(
    "rows",
    [
        [row_of_size(16, 0.9, "all"), row_of_size(64, 0.9, "head")],
        [Row(title="all"), Row(title="head")],
        [row_of_size(16, 0.9)],
    ],
)
def test_learning_curves_without_rows_that_differ_in_size_alone_are_none(
    tmp_path: Path, rows: list[Row]
) -> None:
    assert make_figures(tmp_path, rows).curves is None


def test_learning_curves_line_without_baselines_has_no_pairs(tmp_path: Path) -> None:
    rows = [row_of_size(16, 0.8), row_of_size(64, 0.9)]
    curves = curves_of(make_figures(tmp_path, rows, baselines=()))
    assert [line.name for line in curves.lines] == ["head-only"]
    assert curves.pairs == ()


def test_learning_curves_values_that_were_tuned_may_differ_between_sizes(tmp_path: Path) -> None:
    rows = []
    for size, lr in ((16, 1e-3), (64, 1e-4)):
        row = row_of_size(size, 0.9)
        spec = {**row.record["spec"], "train": {**row.record["spec"]["train"], "lr": lr}}
        rows.append(msgspec.structs.replace(row, record={**row.record, "spec": spec}))
    figures = make_figures(tmp_path, rows)
    assert figures.curves is None
    lines = [LineRow(row.title, row.runs) for row in figures.rows]
    sized = learning_curves(lines, ["train.lr", "freezing.n"])
    assert sized is not None
    assert sized.curves.sizes() == [16, 64]


def test_learning_curves_seeds_of_a_row_are_one_point(tmp_path: Path) -> None:
    rows = [
        row_of_size(n, a, seeds=(1, 2, 3), less_by_seed=0.01) for n, a in ((16, 0.8), (64, 0.95))
    ]
    figures = make_figures(tmp_path, rows)
    first, *_ = curves_of(figures).lines
    assert [(p.seeds, round(p.score, 2)) for p in first.points] == [
        ((1, 2, 3), 0.79),
        ((1, 2, 3), 0.94),
    ]
    assert len(first.points[0].runs) == 3


def test_learning_curves_equal_titles_are_numbered(tmp_path: Path) -> None:
    rows = [
        row_of_size(size, 0.9, freezing, title=f"data.train_size={size}")
        for freezing in ("all", "head")
        for size in (16, 64)
    ]
    lines = curves_of(make_figures(tmp_path, rows)).lines
    assert [line.name for line in lines[:2]] == ["gpt2-sms-spam", "gpt2-sms-spam (2)"]


def test_suite_table_has_baselines_of_every_size(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, all=[0.6, 0.9, 0.98])
    table = suite_table(figures)
    assert table["train_texts"].tolist() == [16, 64, 256, 256, 256, 16, 16, 64, 64]
    assert table["baseline"].tolist() == [False] * 3 + [True] * 6
    assert table["rank_best"].isna().tolist() == [False] * 5 + [True] * 4
    assert "train_texts" in brief_table(figures)
    found = plain_figures(figures)
    assert found["learning_curves"] is figures.curves
    same_size = make_figures(tmp_path / "other", [Row(title="all"), Row(title="head")])
    assert "train_texts" not in brief_table(same_size)
    assert suite_table(same_size)["train_texts"].tolist() == [1045] * 4
