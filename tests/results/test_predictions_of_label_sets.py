"""Predictions of a run on texts with any number of labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from record_examples import make_record

from clsbench.analysis.metrics import split_metrics
from clsbench.components.labels import decided, labels_of
from clsbench.components.values import Split, Splits
from clsbench.errors import UsageError
from clsbench.results.predictions import (
    read_predictions,
    write_baseline_predictions,
    write_predictions,
)
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, Metrics


def make_multi_label_run(directory: Path) -> StoredRun:
    """A run on texts with any number of labels, with random predictions and a matching record."""
    names, generator = ("a", "b", "c"), np.random.default_rng(1)
    drawn = {name: generator.random((4, 3)) < 0.5 for name in ("train", "validation", "test")}
    drawn["test"][0] = False  # a text without labels
    splits = Splits(
        class_names=names,
        multi_label=True,
        **{
            name: Split(name=name, rows=(0, 1, 2, 3), texts=tuple("xxxx"), labels=tuple(found))
            for name, found in ((name, labels_of(labels)) for name, labels in drawn.items())
        },
    )  # fmt: skip
    probabilities = {name: generator.random((4, 3)) for name in drawn}
    predicted = {name: generator.random((4, 3)) < 0.5 for name in drawn}
    write_predictions(directory, splits, probabilities)
    given = {name: generator.random((4, 3)) for name in drawn}
    write_baseline_predictions(directory, splits, {"majority": predicted}, {"majority": given})
    thresholds = (0.3, 0.5, 0.8)

    def metrics(found: Mapping[str, np.ndarray]) -> Metrics:
        return Metrics(
            **{name: split_metrics(labels, found[name], 3, metrics={})
               for name, labels in drawn.items()}
        )  # fmt: skip

    record = make_record()
    assert record.data is not None
    record = replace(
        record,
        data=replace(record.data, class_names=names, multi_label=True),
        thresholds=dict(zip(names, thresholds, strict=True)),
        metrics=metrics({name: decided(each, thresholds) for name, each in probabilities.items()}),
        baselines=(
            BaselineResult(
                component="majority", metrics=metrics(predicted), seconds=0.1, probabilities=True
            ),
        ),
    )
    return StoredRun(directory, record)


def test_read_predictions_multi_label_are_decided_by_the_thresholds(tmp_path: Path) -> None:
    found = read_predictions(make_multi_label_run(tmp_path))
    assert found.labels.shape == found.predicted.shape == (4, 3)
    assert not found.labels[0].any()
    assert np.array_equal(found.predicted, found.probabilities >= np.array([0.3, 0.5, 0.8]))
    assert found.baselines["majority"].dtype == np.bool_
    independent = found.baseline_probabilities["majority"]
    assert independent.shape == (4, 3)
    assert not np.allclose(independent.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": {"a": 0.3, "b": 0.5}}, "does not hold a threshold for every class"),
        ({"thresholds": {"a": 0.0, "b": 0.0, "c": 0.0}}, "do not match the metrics"),
    ],
)
def test_read_predictions_multi_label_with_other_thresholds_are_damaged(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    run = make_multi_label_run(tmp_path)
    with pytest.raises(UsageError, match=message):
        read_predictions(run._replace(record=replace(run.record, **changes)))
