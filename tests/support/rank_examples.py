"""Ranks of methods over data sets, made from scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from clsbench.analysis.dataset_ranks import Method, RankedDataset, Ranks, rank_methods
from clsbench.analysis.figures import ACCURACY

BASELINE = "TF-IDF"
"""The method with this name is a baseline."""


def make_ranks(scores: Mapping[str, Sequence[float]], **fields: Any) -> Ranks:
    """Ranks on ``a.csv``, ``b.csv`` and so on; every method has one row on each."""
    count = len(next(iter(scores.values())))
    ranks = rank_methods(
        {Method(name, name == BASELINE): found for name, found in scores.items()},
        {name: [f"{name}.{place}" for place in range(count)] for name in scores},
        fields.pop("metric", ACCURACY),
    )
    datasets = tuple(
        RankedDataset(
            name=f"{chr(97 + place)}.csv",
            component=f"csv:path={chr(97 + place)}.csv",
            train_texts=1045,
            test_texts=300,
            classes=2,
        )
        for place in range(count)
    )
    return replace(ranks, datasets=datasets, **fields)


def by_ranks(names: Sequence[str], ranks: Sequence[str]) -> dict[str, list[float]]:
    """Scores with these ranks; ``"213"`` are those of the methods on one data set."""
    return {name: [1 - int(on[place]) / 10 for on in ranks] for place, name in enumerate(names)}
