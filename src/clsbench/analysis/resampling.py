"""Intervals and contributions of texts for a metric without a closed form.

The interval is a percentile bootstrap over texts, shifted by the bootstrap's bias, since a metric
such as the calibration error is higher on a resample than on the texts themselves.

The contribution of a text is its jackknife pseudo-value: how much the metric changes without it.
The mean of the contributions is approximately the metric, so paired tests for means apply to them.
For the accuracy they are exactly 1 or 0; for the ROC AUC they lead to DeLong's test.

Source: Efron, The Annals of Statistics 7 (1979), 1; Tukey, The Annals of Mathematical Statistics 29
(1958), 614; DeLong et al., Biometrics 44 (1988), 837.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from clsbench.analysis.metrics import CONFIDENCE, Labels, Probabilities, metric_value
from clsbench.components.metric import Metric
from clsbench.errors import UndefinedMetricError

RESAMPLES = 1_000
"""The number of bootstrap samples of the texts."""

MOST_GROUPS = 500
"""More texts than this are left out in groups of random texts, not one by one."""

_SEED = 20_251_121
"""The seed of resamples and groups, so that the same predictions give the same interval."""


def bootstrap_interval(
    name: str, metric: Metric, labels: Labels, by_seed: Sequence[Probabilities]
) -> tuple[float, float]:
    """The 95 % interval over texts of the mean over seeds of a metric.

    ``by_seed`` are the probabilities (N, C) of each run. Resamples for which the metric is
    undefined, such as those of one class, are left out.

    Raises:
        UndefinedMetricError: the metric is undefined for the texts themselves.
    """

    def mean(texts: NDArray[np.int64] | slice) -> float:
        return fmean(metric_value(name, metric, labels[texts], each[texts]) for each in by_seed)

    value, drawn = mean(slice(None)), []
    generator, n = np.random.default_rng(_SEED), len(labels)
    for _ in range(RESAMPLES):
        try:
            drawn.append(mean(generator.integers(n, size=n)))
        except UndefinedMetricError:
            continue
    if not drawn:
        return value, value
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail)) + (value - fmean(drawn))
    lowest, highest = metric.limits
    return max(float(min(low, value)), lowest), min(float(max(high, value)), highest)


def contributions(
    name: str, metric: Metric, labels: Labels, probabilities: Probabilities
) -> NDArray[np.float64]:
    """The contribution (G,) of each text, or group of texts, to a metric.

    Without a text that alone makes the metric defined, it counts as unchanged.

    Raises:
        UndefinedMetricError: the metric is undefined for the texts themselves.
    """
    value = metric_value(name, metric, labels, probabilities)
    groups = _groups(len(labels))
    count = int(groups.max()) + 1
    without = np.full(count, value)
    for group in range(count if len(labels) > 1 else 0):
        kept = groups != group
        try:
            without[group] = metric_value(name, metric, labels[kept], probabilities[kept])
        except UndefinedMetricError:
            continue
    return count * value - (count - 1) * without


def _groups(texts: int) -> NDArray[np.int64]:
    """The group of each text, the same for every classifier."""
    if texts <= MOST_GROUPS:
        return np.arange(texts)
    return np.random.default_rng(_SEED).permutation(texts) % MOST_GROUPS
