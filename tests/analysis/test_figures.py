from __future__ import annotations

import msgspec
import pytest
from record_examples import make_metrics, make_record

from clsbench.analysis.figures import METRICS, SCORES, Metric, mean_scores
from clsbench.analysis.metrics import SCORES as COMPUTED
from clsbench.results.record_file import decode_record


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_metric_of_every_split_is_within_its_limits(metric: Metric) -> None:
    low, high = metric.limits
    for split in ("train", "validation", "test"):
        value = metric.read(getattr(make_metrics(0.8), split))
        assert value is None or low <= value <= high


def test_metrics_have_unique_names_headers_and_columns() -> None:
    for values in (
        [metric.name for metric in METRICS],
        [metric.header for metric in METRICS],
        [metric.column or f"test_{metric.name}" for metric in METRICS],
        [metric.drop for metric in SCORES],
    ):
        assert len(set(values)) == len(values)
    assert set(COMPUTED) <= {metric.name for metric in SCORES}


def test_metric_missing_in_an_older_record_is_none() -> None:
    tree = msgspec.to_builtins(make_record())
    for split in tree["metrics"].values():
        for key in ("scores", "ece", "brier"):
            split.pop(key, None)
    record = decode_record(msgspec.json.encode(tree))
    assert not isinstance(record, str)
    assert record.metrics is not None
    read = {metric.name: metric.read(record.metrics.test) for metric in SCORES}
    assert read["macro_f1"] is not None
    assert {read[name] for name in ("ece", "brier", *COMPUTED)} == {None}


def test_mean_scores_leaves_out_metrics_without_values() -> None:
    splits = [make_metrics(0.9, seed=seed).test for seed in (1, 2)]
    found = mean_scores(splits)
    assert found["macro_f1"] == pytest.approx((splits[0].macro_f1 + splits[1].macro_f1) / 2)
    assert "ece" not in found
    assert mean_scores([]) == {}
