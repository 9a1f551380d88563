"""The primary metric of a side of a comparison, and the paired test of two sides."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

import numpy as np

from clsbench.analysis.figures import ACCURACY, ShownMetrics
from clsbench.analysis.metrics import are_right, as_probabilities, metric_value
from clsbench.analysis.paired import Difference, compare_contributions, compare_correct
from clsbench.analysis.resampling import bootstrap_interval, contributions
from clsbench.analysis.seeds import accuracy_interval, widened_by_seeds
from clsbench.analysis.sides import Side


class Measured(NamedTuple):
    """The primary metric of a side by seed, and the contributions of the texts to it.

    ``correct`` is whether each text is classified correctly. ``values`` is empty for a side that
    lacks the metric.
    """

    correct: Mapping[int | None, np.ndarray]
    values: Mapping[int | None, float]
    contributions: Mapping[int | None, np.ndarray]
    interval: tuple[float, float] | None


def measure(side: Side, metrics: ShownMetrics) -> Measured:
    """The primary metric of a side on the test texts.

    Raises:
        UndefinedMetricError: it is undefined for them.
    """
    labels = side.labels
    correct = {seed: are_right(labels, predicted) for seed, predicted in side.predicted.items()}
    name = metrics.primary.name
    if name == ACCURACY.name:
        accuracies = {seed: float(each.mean()) for seed, each in correct.items()}
        interval = accuracy_interval(list(accuracies.values()), len(labels))
        return Measured(correct, accuracies, correct, interval)
    metric = metrics.components[name]
    by_seed = side.probabilities
    if not metric.needs_probabilities:
        by_seed = {
            seed: as_probabilities(predicted, side.num_classes)
            for seed, predicted in side.predicted.items()
        }
    if not by_seed:
        return Measured(correct, {}, {}, None)
    values = {seed: metric_value(name, metric, labels, p) for seed, p in by_seed.items()}
    over_texts = bootstrap_interval(name, metric, labels, list(by_seed.values()))
    return Measured(
        correct,
        values,
        {seed: contributions(name, metric, labels, p) for seed, p in by_seed.items()},
        widened_by_seeds(over_texts, list(values.values()), metrics.primary.limits),
    )


def paired(a: Measured, b: Measured) -> Difference | None:
    """B against A on their common seeds; a baseline without seeds is paired with every seed."""
    seeds = [seed for seed in a.values if seed in b.values]
    if None in a.values or None in b.values:
        seeds = list(a.values if None in b.values else b.values)
    if not seeds or not a.values or not b.values:
        return None

    def rows(of: Mapping[int | None, np.ndarray]) -> np.ndarray:
        return np.stack([of[None] if None in of else of[seed] for seed in seeds])

    correct = rows(a.correct), rows(b.correct)
    if a.contributions is a.correct:
        return compare_correct(*correct)
    means = [fmean(m.values[None if None in m.values else seed] for seed in seeds) for m in (a, b)]
    of_texts = rows(a.contributions), rows(b.contributions)
    return compare_contributions(*of_texts, correct, means[1] - means[0])
