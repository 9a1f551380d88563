"""Converts specs that older versions of clsbench stored to the current schema."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_READ_QUOTED_FILES = ("sms-spam", "csv")

_TRAIN: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": {"name": "adamw", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        "schedule": {"name": "constant", "warmup": 0.0},
        "loss": {"name": "cross-entropy", "class_weights": "none", "label_smoothing": 0.0},
        "gradient_clipping": 0.0,
        "layer_decay": 1.0,
        "select": "last",
        "patience": 0,
    }
)
"""The training recipe of every run before its parts became options."""


def upgrade_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The stored spec in the current schema; a spec in the current schema is returned unchanged.

    Schema 1 held ``data.quoting``, now an option of the data sets that read quoted files, and the
    option ``seed`` of ``synthetic-sms``, whose texts are now those of seed 0. Schema 2 did not hold
    the training recipe and the primary metric, which were always the same.
    """
    upgraded = dict(spec)
    if isinstance(train := spec.get("train"), Mapping):
        missing = {key: value for key, value in _TRAIN.items() if key not in train}
        upgraded["train"] = {**train, **missing}
        upgraded.setdefault("metric", "accuracy")
    data, dataset = spec.get("data"), spec.get("dataset")
    if not isinstance(data, Mapping) or not isinstance(dataset, Mapping):
        return upgraded
    if "quoting" in data:
        upgraded["data"] = {key: value for key, value in data.items() if key != "quoting"}
        if dataset.get("name") in _READ_QUOTED_FILES:
            upgraded["dataset"] = {**dataset, "quoting": data["quoting"]}
    if dataset.get("name") == "synthetic-sms" and dataset.get("seed") == 0:
        upgraded["dataset"] = {key: value for key, value in dataset.items() if key != "seed"}
    return upgraded
