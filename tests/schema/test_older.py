from __future__ import annotations

from typing import Any

import pytest

from clsbench.schema.older import upgrade_spec


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ({"name": "sms-spam"}, {"name": "sms-spam", "quoting": "none"}),
        ({"name": "csv", "path": "a.csv"}, {"name": "csv", "path": "a.csv", "quoting": "none"}),
        ({"name": "imdb"}, {"name": "imdb"}),
        ({"name": "synthetic-sms", "texts": 50, "seed": 0}, {"name": "synthetic-sms", "texts": 50}),
        ({"name": "synthetic-sms", "seed": 7}, {"name": "synthetic-sms", "seed": 7}),
    ],
)
def test_upgrade_spec_of_schema_1_moves_quoting_to_the_dataset(
    dataset: dict[str, Any], expected: dict[str, Any]
) -> None:
    old = {"name": "x", "dataset": dataset, "data": {"balance": True, "quoting": "none"}}
    upgraded = {"name": "x", "dataset": expected, "data": {"balance": True}}
    assert upgrade_spec(old) == upgraded
    assert upgrade_spec(upgraded) == upgraded


def test_upgrade_spec_of_schema_2_names_recipe_and_metric() -> None:
    upgraded = upgrade_spec({"train": {"lr": 1.0}})
    train = upgraded["train"]
    assert upgraded["metric"] == "accuracy"
    assert train["lr"] == 1.0
    assert (train["optimizer"]["name"], train["loss"]["name"]) == ("adamw", "cross-entropy")
    assert train["schedule"] == {"name": "constant", "warmup": 0.0}
    assert (train["select"], train["patience"]) == ("last", 0)
    assert (train["gradient_clipping"], train["layer_decay"]) == (0.0, 1.0)
    kept = {"train": {**train, "optimizer": {"name": "sgd"}}, "metric": "mcc"}
    assert upgrade_spec(kept) == kept


@pytest.mark.parametrize("spec", [{}, {"data": 3, "dataset": {}}, {"data": {}, "dataset": "csv"}])
def test_upgrade_spec_damaged_spec_is_left_unchanged(spec: dict[str, Any]) -> None:
    assert upgrade_spec(spec) == spec
