"""Rows compared in another primary metric than the accuracy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from metric_examples import CATALOG
from report_examples import Row, make_figures

import clsbench
from clsbench.analysis import resampling
from clsbench.analysis.comparison import compare_runs
from clsbench.analysis.computed import with_computed_metric
from clsbench.analysis.figures import ShownMetrics, describe_metric
from clsbench.analysis.results_table import default_columns, results_table
from clsbench.analysis.standing import baselines, trained
from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.analysis.suite_table import suite_table
from clsbench.components.resolve import make_metric
from clsbench.errors import UndefinedMetricError
from clsbench.report.page.answer import answer
from clsbench.report.page.content import build_page
from clsbench.report.page.files import report_text
from clsbench.results.store import scan
from clsbench.results.suite_results import read_suite_results

ROWS = [Row(title="worse", accuracy=0.8), Row(title="better", accuracy=0.97)]


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples() -> Iterator[None]:
    """A fifth of the usual bootstrap samples, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    make_figures(folder, ROWS)
    return folder


@pytest.fixture(scope="module")
def by_f1(store: Path) -> SuiteFigures:
    return figures(store, "macro-f1")


@pytest.fixture(scope="module")
def by_loss(store: Path) -> SuiteFigures:
    return figures(store, "log-loss")


def figures(store: Path, metric: str) -> SuiteFigures:
    return suite_figures(read_suite_results(store, "a-suite"), store, CATALOG, metric)


def test_suite_table_has_the_primary_metric_with_its_interval(by_f1: SuiteFigures) -> None:
    table = suite_table(by_f1)
    worse, better, majority, _ = table.to_dict("records")
    assert worse["test_macro_f1_low"] < worse["test_macro_f1"] < worse["test_macro_f1_high"]
    assert better["test_macro_f1"] == pytest.approx(0.97, abs=0.005)
    assert (better["test_accuracy"], better["rank_best"]) == (pytest.approx(0.97), 1)
    assert better["against_first"] == pytest.approx(0.17, abs=0.01)
    assert better["against_first_verdict"] == "better"
    assert majority["test_macro_f1"] == pytest.approx(0.5, abs=0.05), "from its predicted classes"
    assert "test_accuracy_low" not in table, "the interval is that of the primary metric"


def test_compare_runs_agrees_with_the_accuracy_where_the_metric_is_nearly_the_same(
    by_f1: SuiteFigures, store: Path
) -> None:
    plain = compare_runs(scan(store).runs)
    assert by_f1.comparison is not None
    p_values = {(p.a, p.b): p.found.p for p in plain.pairs if p.found is not None}
    for pair, (_, p) in zip(by_f1.comparison.pairs, p_values.items(), strict=True):
        assert pair.found is not None
        assert pair.found.p == pytest.approx(p, rel=0.3, abs=0.02)


def test_standing_lower_is_better_sorts_ascending(by_loss: SuiteFigures) -> None:
    comparison = by_loss.comparison
    assert comparison is not None
    ranked = trained(comparison)
    assert [each.name for each in ranked] == ["row 2", "row 1"]
    assert ranked[0].score is not None
    assert ranked[1].score is not None
    assert ranked[0].score < ranked[1].score
    assert by_loss.best == "2"
    pair = comparison.pairs[0]
    assert pair.found is not None
    assert pair.found.difference < 0
    assert (pair.b, pair.verdict) == ("row 2", "better")


def test_baselines_that_predict_classes_lack_a_metric_of_probabilities(
    by_loss: SuiteFigures,
) -> None:
    comparison = by_loss.comparison
    assert comparison is not None
    assert baselines(comparison) == []
    without = [each for each in comparison.contenders if not each.runs]
    assert [(each.score, each.interval, each.ranks) for each in without] == [(None, None, None)] * 2
    assert {p.verdict for p in comparison.pairs if "baseline" in p.a + p.b} == {None}
    assert comparison.contenders[0].ranks == (2, 2), "among those that have the metric"
    table = suite_table(by_loss)
    assert table["test_loss"].isna().tolist() == [False, False, True, True]
    assert table["test_accuracy"].isna().sum() == 0


def test_answer_names_the_primary_metric(by_f1: SuiteFigures, by_loss: SuiteFigures) -> None:
    reply = answer(by_f1)
    assert reply.headline.startswith("Use row 2 (better): macro F1 0.97")
    assert reply.cards[0].label == "highest macro F1"
    reply = answer(by_loss)
    assert reply.headline == (
        "Use row 2 (better): loss 0.2647; it is significantly better than every other row; the "
        "baselines have no loss, which needs probabilities."
    )
    assert reply.cards[0].label == "lowest loss"
    assert "No baseline has loss, which needs probabilities." in reply.sentences


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "json", "html"])
def test_report_has_the_primary_metric_in_every_format(by_f1: SuiteFigures, form: str) -> None:
    text = report_text(by_f1, form, CATALOG, None)  # type: ignore[arg-type]
    assert ("test macro F1" if form == "html" else "test") in text
    assert "macro" in text
    if form == "json":
        tree = json.loads(text)
        assert tree["metric"]["name"] == "macro-f1"
        assert tree["table"][1]["test_macro_f1"] == pytest.approx(0.97, abs=0.005)
        assert tree["comparison"]["contenders"][0]["score"] is not None


def test_page_plots_the_primary_metric(by_loss: SuiteFigures) -> None:
    page = build_page(by_loss, CATALOG, None)
    assert page.wide is not None
    assert page.wide.summary.startswith("Row 2, better: 0.2647 (95 % interval ")
    assert page.wide.y_ticks[0].text[:2] == "0."
    assert page.table.line is None
    assert page.verdicts is None, "fewer than three have the metric"


def test_results_table_computes_a_metric_that_no_run_listed(store: Path) -> None:
    name, metric = make_metric("balanced-accuracy", CATALOG)
    runs = scan(store).runs
    assert "test_balanced_accuracy" not in results_table(runs)
    table = results_table(with_computed_metric(runs, name, metric))
    assert list(table["test_balanced_accuracy"]) == pytest.approx([0.8, 0.97], abs=0.01)
    # The example store has predictions for the test split only.
    assert table["validation_balanced_accuracy"].isna().all()


def test_default_columns_include_the_named_metric(store: Path) -> None:
    table = results_table(scan(store).runs)
    assert "test_macro_f1" not in default_columns(table)
    assert "test_macro_f1" in default_columns(table, None, ["macro-f1"])


class Never(clsbench.Metric, frozen=True):
    """Never defined."""

    def compute(self, labels: np.ndarray, probabilities: np.ndarray) -> float:
        raise ValueError("it never is")


def test_compare_runs_undefined_primary_metric_is_an_error(store: Path) -> None:
    shown = ShownMetrics(describe_metric("never", Never()), (), {"never": Never()})
    with pytest.raises(UndefinedMetricError, match="the metric never is undefined: it never is"):
        compare_runs(scan(store).runs, metrics=shown)
