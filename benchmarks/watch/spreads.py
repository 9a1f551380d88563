"""The run-to-run variance of each benchmark, estimated from a few runs of many benchmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from benchmarks.watch.history import FEWEST_RUNS
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

LEAST_SPREAD = 0.003
"""The smallest assumed spread, since a few runs may agree by chance."""

_FALSE_ALARMS = 0.005
"""The fraction of unchanged runs in which some benchmark is reported as slower."""


class Spread(NamedTuple):
    """The standard deviation of one logarithm of a benchmark, and its degrees of freedom."""

    deviation: float
    freedom: float

    def limit(self, variances: float, comparisons: int) -> float:
        """The largest expected ratio for a multiple of the variance, in that many comparisons."""
        quantile = float(stats.t.isf(_FALSE_ALARMS / comparisons, self.freedom))
        return math.exp(quantile * self.deviation * math.sqrt(variances))


def spreads(groups: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    """The variance of each benchmark, shrunk towards the usual one.

    A few runs give a poor estimate of a variance. The more similar the variances of all benchmarks
    are, the more each estimate is drawn towards their mean.

    Source: Smyth, Statistical Applications in Genetics and Molecular Biology 3 (2004), section 6.2.
    """
    own = {name: logs for name, logs in groups.items() if len(logs) >= FEWEST_RUNS}
    if not own:
        return {}
    least = LEAST_SPREAD**2
    variances = np.array([max(float(np.var(logs, ddof=1)), least) for logs in own.values()])
    freedoms = np.array([len(logs) - 1.0 for logs in own.values()])
    levels = np.log(variances) - digamma(freedoms / 2) + np.log(freedoms / 2)
    excess = (
        float(np.var(levels, ddof=1) - np.mean(polygamma(1, freedoms / 2)))
        if len(own) > 1
        else math.inf
    )
    others = (len(own) - 1) * float(np.mean(freedoms))  # an upper bound
    if excess <= 0:  # no more spread than by chance
        usual, weight = math.exp(float(np.mean(levels))), others
    else:
        weight = 0.0 if math.isinf(excess) else min(2 * _inverse_trigamma(excess), others)
        usual = 0.0
        if weight:
            shift = float(digamma(weight / 2)) - math.log(weight / 2)
            usual = math.exp(float(np.mean(levels)) + shift)
    found = {}
    for name, variance, freedom in zip(own, variances, freedoms, strict=True):
        drawn = (weight * usual + freedom * variance) / (weight + freedom)
        found[name] = Spread(math.sqrt(max(drawn, least)), weight + freedom)
    return found


def _inverse_trigamma(value: float) -> float:
    within = min(max(value, 1e-6), 1e6)
    return float(brentq(lambda x: float(polygamma(1, x)) - within, 1e-4, 1e7))
