"""What the labels of a data set choose and rule out when a spec is resolved."""

from __future__ import annotations

from typing import Any

import pytest

from clsbench.components.catalog import Catalog
from clsbench.components.resolve import resolve
from clsbench.errors import UsageError
from clsbench.schema.experiment import ExperimentSpec

BASE = ExperimentSpec(name="mine", dataset="synthetic-sms", backbone="gpt2-nano")
MULTI_LABEL = {"dataset": "csv:path=x.csv,labels=a+b"}


def test_resolve_multi_label_data_choose_loss_and_metrics(catalog: Catalog) -> None:
    experiment = resolve(BASE, MULTI_LABEL, catalog)
    assert experiment.spec.train.loss == {"name": "binary-cross-entropy"}
    assert experiment.primary == experiment.spec.metric == "micro-f1"
    assert [*experiment.metrics] == [
        *("accuracy", "micro-f1", "macro-f1", "average-precision", "log-loss")
    ]
    again = resolve(experiment.spec, {}, catalog)
    assert again.tree == experiment.tree


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (MULTI_LABEL | {"train.loss": "focal"}, "loss 'focal'.*use --loss binary-cross-entropy"),
        (MULTI_LABEL | {"metric": "mcc"}, "metric 'mcc' is for single-label data"),
        (MULTI_LABEL | {"metrics": ["ece"]}, "metric 'ece' is for single-label data"),
        ({"train.loss": "binary-cross-entropy"}, "is for multi-label data.*--loss cross-entropy"),
    ],
)
def test_resolve_components_for_other_labels_are_refused(
    changes: dict[str, Any], message: str, catalog: Catalog
) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(BASE, changes, catalog)
