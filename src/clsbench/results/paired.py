"""Two classifiers on the same texts: how far apart they are, and whether that is more than chance.

With one run a side the test is McNemar's in its exact form, over the texts that only one of the two
calls right; it speaks of these two trained classifiers, since one run cannot tell what another seed
would give. With several seeds both texts and seeds count as drawn by chance: the half-widths of an
interval for either (the bootstrap over texts, Student's t over seeds) are squared and added up.

Source: McNemar, Psychometrika 12 (1947); Zou and Donner, Statistics in Medicine 27 (2008), for the
sum of intervals; Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from clsbench.results.metrics import CONFIDENCE

_DRAWS = 5_000
_SEED = 20_251_121
"""Of the bootstrap: the same runs give the same interval."""

_LOG_SMALLEST = math.log(1e-12)
"""No p value is told to be smaller."""

Verdict = Literal["better", "worse", "no difference shown"]

Correct = NDArray[np.bool_]
"""(S, N): whether the run with each of S seeds called each of N texts right."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """B against A on ``texts`` texts over ``seeds`` seeds each.

    ``only_a`` and ``only_b`` count the texts that one side alone calls right, a mean over seeds;
    ``difference`` is the accuracy of B less that of A, as a fraction, with its 95 % bootstrap
    ``interval``; ``p`` is two-sided, of no difference.
    """

    texts: int
    seeds: int
    only_a: float
    only_b: float
    difference: float
    interval: tuple[float, float]
    p: float


def compare_correct(a: Correct, b: Correct) -> Difference:
    """Compare what A and B call right, both (S, N) with the same seeds and texts in order.

    Raises:
        ValueError: the shapes differ, or there is no text.
    """
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise ValueError(f"A {a.shape} and B {b.shape} must be equal in shape, (seeds, texts)")
    seeds, texts = a.shape
    steps = b.astype(np.int8) - a.astype(np.int8)
    only_a, only_b = (float((steps == sign).sum() / seeds) for sign in (-1, 1))
    p = _mcnemar(int(only_a), int(only_b)) if seeds == 1 else _both_by_chance(steps)
    return Difference(
        texts=texts,
        seeds=seeds,
        only_a=only_a,
        only_b=only_b,
        difference=float(steps.mean()),
        interval=_interval(steps),
        p=p,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's correction: each p value raised so that one level holds for all of them together."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min((len(p_values) - place) * p_values[index], 1.0))
        corrected[index] = highest
    return tuple(corrected)


def verdict_on(difference: float, p: float) -> Verdict:
    """What may be said of B, given its corrected ``p``."""
    if p > 1 - CONFIDENCE or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


class RankRange(NamedTuple):
    """The ranks, 1 the best, that a classifier may have."""

    best: int
    worst: int


def rank_ranges(verdicts: Sequence[Sequence[Verdict | None]]) -> tuple[RankRange, ...]:
    """The ranks that the pairwise verdicts leave open; ``verdicts[i][j]`` is of i against j.

    With verdicts corrected over all pairs, the true ranks lie in all ranges together with the level
    of the correction. ``None`` is a pair that could not be compared: it leaves either order open.
    """
    count = len(verdicts)
    return tuple(
        RankRange(1 + sum(v == "worse" for v in row), count - sum(v == "better" for v in row))
        for row in verdicts
    )


def _mcnemar(only_a: int, only_b: int) -> float:
    from scipy.stats import binomtest  # slow to load

    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_b, only_a + only_b, 0.5).pvalue)


def _both_by_chance(steps: NDArray[np.int8]) -> float:
    """The level at which the half-widths of texts and of seeds, squared and added up, just reach
    the difference."""
    from scipy.optimize import brentq  # slow to load
    from scipy.stats import norm, t

    squared = float(steps.mean()) ** 2
    by_text, by_seed = _variances(steps)
    if squared == 0 or by_text + by_seed == 0:
        return 1.0 if squared == 0 else 0.0

    def beyond(log_p: float) -> float:
        half = math.exp(log_p) / 2
        from_seeds = float(t.isf(half, len(steps) - 1)) ** 2 * by_seed
        return float(norm.isf(half)) ** 2 * by_text + from_seeds - squared

    if beyond(_LOG_SMALLEST) <= 0:
        return math.exp(_LOG_SMALLEST)
    return math.exp(brentq(beyond, _LOG_SMALLEST, 0.0))


def _variances(steps: NDArray[np.int8]) -> tuple[float, float]:
    """Of the mean difference: what the texts and what the seeds contribute."""
    seeds, texts = steps.shape
    by_text = float(steps.mean(axis=0).var(ddof=1)) / texts if texts > 1 else 0.0
    by_seed = float(steps.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    return by_text, by_seed


def _interval(steps: NDArray[np.int8]) -> tuple[float, float]:
    """Of the mean difference: percentiles over texts drawn again, widened by what seeds add.

    Seeds are too few to be drawn again: Student's t stands for them.
    """
    from scipy.stats import t  # slow to load

    seeds, texts = steps.shape
    patterns, counts = np.unique(steps, axis=1, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(texts, counts / texts, _DRAWS)
    means = drawn @ patterns.mean(axis=0) / texts
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    difference, (_, by_seed) = float(steps.mean()), _variances(steps)
    from_seeds = float(t.isf(tail, seeds - 1)) ** 2 * by_seed if seeds > 1 else 0.0
    return (
        max(difference - math.sqrt((difference - low) ** 2 + from_seeds), -1.0),
        min(difference + math.sqrt((high - difference) ** 2 + from_seeds), 1.0),
    )
