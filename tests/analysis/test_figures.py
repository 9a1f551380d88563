"""How metrics are described, read from records, and chosen for tables."""

from __future__ import annotations

import logging
import math

import msgspec
import pytest
from metric_examples import CATALOG, SHOWN
from record_examples import make_metrics, make_record, make_spec

from clsbench.analysis.figures import (
    ACCURACY,
    MetricInfo,
    column_of,
    describe_metric,
    mean_scores,
    shown_metrics,
)
from clsbench.components.resolve import make_metric
from clsbench.errors import UsageError
from clsbench.results.record_file import decode_record
from clsbench.schema.record import SplitMetrics

INFOS = [describe_metric(*make_metric(name, CATALOG)) for name in CATALOG.entries["metrics"]]


@pytest.mark.parametrize("metric", INFOS, ids=lambda metric: metric.name)
def test_metric_of_every_split_is_within_its_limits(metric: MetricInfo) -> None:
    low, high = metric.limits
    for split in ("train", "validation", "test"):
        value = metric.read(getattr(make_metrics(0.8), split))
        assert value is None or low <= value <= high


def test_metrics_have_unique_names_headers_columns_and_priorities() -> None:
    others = [metric for metric in INFOS if metric.name != ACCURACY.name]
    for values in (
        [metric.name for metric in INFOS],
        [metric.header for metric in INFOS],
        [metric.column for metric in INFOS],
        [metric.priority for metric in others],
    ):
        assert len(set(values)) == len(values)


def test_accuracy_is_described_as_in_the_catalog() -> None:
    assert next(metric for metric in INFOS if metric.name == ACCURACY.name) == ACCURACY


def test_metric_missing_in_an_older_record_is_none() -> None:
    tree = msgspec.to_builtins(make_record())
    for split in tree["metrics"].values():
        for key in ("scores", "ece", "brier", "intervals"):
            split.pop(key, None)
    record = decode_record(msgspec.json.encode(tree))
    assert not isinstance(record, str)
    assert record.metrics is not None
    read = {metric.name: metric.read(record.metrics.test) for metric in INFOS}
    assert read["macro-f1"] is not None
    assert read["log-loss"] == record.metrics.test.loss
    assert {read[name] for name in ("ece", "brier", "mcc", "roc-auc")} == {None}


def test_mean_scores_leaves_out_metrics_without_values() -> None:
    splits = [make_metrics(0.9, seed=seed).test for seed in (1, 2)]
    found = mean_scores(splits, SHOWN.others)
    values = [split.macro_f1 for split in splits]
    assert found["macro_f1"] == pytest.approx(sum(v for v in values if v is not None) / 2)
    assert "ece" not in found
    assert mean_scores([], SHOWN.others) == {}


def test_shown_metrics_of_runs_that_list_none_are_the_usual_ones() -> None:
    shown = shown_metrics(CATALOG, [make_record()])
    assert shown.primary == ACCURACY
    assert [m.name for m in shown.others] == ["log-loss", "macro-f1", "mcc", "ece", "brier"]
    assert [m.column for m in shown.others] == ["loss", "macro_f1", "mcc", "ece", "brier"]


def test_shown_metrics_are_those_that_the_experiments_list() -> None:
    specs = [{**make_spec(1), "metrics": ["mcc"], "metric": "roc-auc"},
             {**make_spec(2), "metrics": ["mcc", "micro-f1"], "metric": "roc-auc"}]  # fmt: skip
    shown = shown_metrics(CATALOG, [make_record(spec=spec) for spec in specs])
    assert shown.primary.name == "roc-auc"
    assert [m.name for m in shown.others] == ["mcc", "micro-f1"]
    assert [m.name for m in shown.all()] == ["accuracy", "roc-auc", "mcc", "micro-f1"]


def test_shown_metrics_of_different_primary_metrics_are_ordered_by_accuracy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = [make_record(spec={**make_spec(1), "metric": m}) for m in ("mcc", "macro-f1")]
    with caplog.at_level(logging.WARNING):
        shown = shown_metrics(CATALOG, records)
    assert shown.primary == ACCURACY
    assert "different primary metrics (mcc, macro-f1)" in caplog.text
    assert shown_metrics(CATALOG, records, "mcc").primary.name == "mcc"


def test_shown_metrics_not_registered_keep_their_stored_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = {**make_spec(1), "metrics": ["gone"], "metric": "gone"}
    with caplog.at_level(logging.WARNING):
        shown = shown_metrics(CATALOG, [make_record(spec=spec)])
    assert shown.primary == ACCURACY
    assert "gone is not registered" in caplog.text
    (other,) = shown.others
    split = msgspec.structs.replace(make_metrics().test, scores={"gone": 0.5})
    assert (other.header, other.read(split)) == ("gone", 0.5)


def test_shown_metrics_unknown_name_is_refused_with_the_closest_match() -> None:
    with pytest.raises(UsageError, match="unknown metric 'macro-f2'; did you mean 'macro-f1'"):
        shown_metrics(CATALOG, [], "macro-f2")


def test_order_sorts_the_best_first_and_missing_values_last() -> None:
    loss = next(metric for metric in INFOS if metric.name == "log-loss")
    assert sorted([0.3, None, 0.1, math.nan], key=loss.order)[:2] == [0.1, 0.3]
    assert sorted([0.3, None, 0.9], key=ACCURACY.order) == [0.9, 0.3, None]


def test_column_of_a_metric_with_options_is_an_identifier() -> None:
    assert column_of("f-beta:beta=2.0") == "f_beta_beta_2_0"
    assert column_of("log-loss") in SplitMetrics.__struct_fields__
