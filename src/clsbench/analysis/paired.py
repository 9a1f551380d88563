"""Compare two classifiers on the same texts: the difference in a metric, its interval, and a test.

With one run per side, the test is McNemar's exact test over the texts that only one side classifies
correctly. Its result holds for these two trained classifiers, not for other seeds. With several
seeds, both texts and seeds are treated as random samples: the interval combines the half-widths of
an interval over texts and one over seeds by the root of their sum of squares. The interval over
texts is the bootstrap's, widened to the score interval, because the bootstrap is too narrow if few
texts differ. The interval over seeds is Student's.

Another metric than the accuracy is not a mean over texts. It is replaced by the contributions of
the texts (:mod:`clsbench.analysis.resampling`), whose mean it is approximately; for the accuracy
they are 1 for a text classified correctly and 0 for another, so the test is the same.

Source: McNemar, Psychometrika 12 (1947); Tango, Statistics in Medicine 17 (1998), 891, for the
score interval; Zou and Donner, Statistics in Medicine 27 (2008), for the sum of intervals; Holm,
Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from clsbench.analysis.metrics import CONFIDENCE

_DRAWS = 5_000
_SEED = 20_251_121
"""The seed of the bootstrap, so that the same runs give the same interval."""

_LOG_SMALLEST = math.log(1e-12)
"""The logarithm of the smallest p value that is reported."""

Verdict = Literal["better", "worse", "no difference shown"]

Correct = NDArray[np.bool_]
"""(S, N): whether the run with each of S seeds classifies each of N texts correctly."""

Contributions = NDArray[np.float64]
"""(S, G): the contribution of each of G groups of texts to a metric, for each of S seeds."""

Steps = NDArray[np.int8] | NDArray[np.float64]
"""(S, G): the contributions of B minus those of A."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """B against A on ``texts`` texts over ``seeds`` seeds each.

    ``only_a`` and ``only_b`` count the texts that only that side classifies correctly, as means
    over seeds. ``difference`` is the metric of B minus that of A, with its 95 % ``interval``; for
    the accuracy it is a fraction. ``p`` is two-sided; if it is above 5 %, the interval contains 0.
    """

    texts: int
    seeds: int
    only_a: float
    only_b: float
    difference: float
    interval: tuple[float, float]
    p: float

    def reversed(self) -> Difference:
        """A against B."""
        low, high = self.interval
        return msgspec.structs.replace(
            self,
            only_a=self.only_b,
            only_b=self.only_a,
            difference=0.0 - self.difference,  # no negative zero
            interval=(0.0 - high, 0.0 - low),
        )


def compare_correct(a: Correct, b: Correct) -> Difference:
    """Compare the correct predictions of A and B, both (S, N) with the same seeds and texts.

    Raises:
        ValueError: the shapes differ, or there are no texts.
    """
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise ValueError(f"A {a.shape} and B {b.shape} must be equal in shape, (seeds, texts)")
    steps = b.astype(np.int8) - a.astype(np.int8)
    return _difference(steps, steps, float(steps.mean()), 1.0)


def compare_contributions(
    a: Contributions, b: Contributions, correct: tuple[Correct, Correct], difference: float
) -> Difference:
    """Compare the contributions of texts to a metric of A and B, both (S, G) with the same seeds.

    ``correct`` holds the correct predictions of A and B; ``difference`` is the mean over seeds of
    the metric of B minus that of A.
    """
    counted = correct[1].astype(np.int8) - correct[0].astype(np.int8)
    return _difference(b - a, counted, difference, math.inf)


def _difference(
    steps: Steps, counted: NDArray[np.int8], difference: float, most: float
) -> Difference:
    """``steps`` (S, G) are the contributions to the difference, which is at most ``most``."""
    seeds, texts = counted.shape
    only_a, only_b = (float((counted == sign).sum() / seeds) for sign in (-1, 1))
    p = _p_of_no_difference(steps)
    offset = difference - float(steps.mean())  # 0 for the accuracy
    low, high = (end + offset for end in _interval(steps, most))
    if p > 1 - CONFIDENCE:  # with few differing texts the exact test is stricter
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(
        texts=texts,
        seeds=seeds,
        only_a=only_a,
        only_b=only_b,
        difference=difference,
        interval=(low, high),
        p=p,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values after Holm's correction, which controls the family-wise error rate."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min((len(p_values) - place) * p_values[index], 1.0))
        corrected[index] = highest
    return tuple(corrected)


def verdict_on(difference: float, p: float) -> Verdict:
    """The verdict on B, given the corrected ``p`` and the difference, positive if B is better."""
    if p > 1 - CONFIDENCE or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


class RankRange(NamedTuple):
    """The best and the worst rank that a classifier may have; 1 is the best."""

    best: int
    worst: int


def rank_ranges(verdicts: Sequence[Sequence[Verdict | None]]) -> tuple[RankRange, ...]:
    """The ranks consistent with the pairwise verdicts; ``verdicts[i][j]`` is that of i against j.

    With verdicts corrected over all pairs, the ranges contain all true ranks simultaneously at the
    level of the correction. ``None`` is a pair that could not be compared; it permits either order.
    """
    count = len(verdicts)
    return tuple(
        RankRange(1 + sum(v == "worse" for v in row), count - sum(v == "better" for v in row))
        for row in verdicts
    )


class _Discordant(NamedTuple):
    """Effective numbers of texts that only B, or only A, classifies correctly.

    If seeds disagree on a text, it counts as a fraction of one. Each effective text changes the sum
    by ``step``; sum and variance (under no difference) are those of the data.
    """

    only_b: float
    only_a: float
    step: float


def _discordant(steps: Steps) -> _Discordant:
    by_text = steps.mean(axis=0)
    squares = float((by_text**2).sum())
    if squares == 0:
        return _Discordant(0.0, 0.0, 1.0)
    step = squares / float(np.abs(by_text).sum())
    only_b, only_a = (float(np.clip(sign * by_text, 0, None).sum()) / step for sign in (1, -1))
    return _Discordant(only_b, only_a, step)


def _p_of_no_difference(steps: Steps) -> float:
    """The level at which the combined half-width over texts and seeds equals the difference.

    Without variation between seeds it is McNemar's exact p.
    """
    from scipy.special import ndtri, stdtrit

    squared = float(steps.mean()) ** 2
    of_texts = _mcnemar(_discordant(steps))
    by_seed = _variance_by_seed(steps)
    if squared == 0 or of_texts == 1 or by_seed == 0:
        return 1.0 if squared == 0 else of_texts
    from scipy.optimize import brentq  # slow to load, and needed with several seeds only

    by_text = squared / float(ndtri(of_texts / 2)) ** 2

    def beyond(log_p: float) -> float:
        half = math.exp(log_p) / 2
        from_seeds = float(stdtrit(len(steps) - 1, half)) ** 2 * by_seed
        return float(ndtri(half)) ** 2 * by_text + from_seeds - squared

    if beyond(_LOG_SMALLEST) <= 0:
        return math.exp(_LOG_SMALLEST)
    return math.exp(brentq(beyond, _LOG_SMALLEST, 0.0))


def _mcnemar(texts: _Discordant) -> float:
    """Twice the binomial tail, extended to non-integer counts by the incomplete beta function."""
    from scipy.special import betainc  # slow to load

    fewer, more = sorted(texts[:2])
    return min(2 * float(betainc(more, fewer + 1, 0.5)), 1.0) if more > 0 else 1.0


def _variance_by_seed(steps: Steps) -> float:
    """The variance of the mean difference that is due to seeds."""
    seeds = len(steps)
    return float(steps.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0


def _interval(steps: Steps, most: float) -> tuple[float, float]:
    """The interval of the mean difference over texts and seeds.

    Seeds are too few for a bootstrap, so their half-width is that of Student's t.
    """
    from scipy.special import stdtrit  # slow to load

    seeds = len(steps)
    drawn, scored = _bootstrap_interval(steps), _score_interval(_discordant(steps), steps.shape[1])
    low, high = min(drawn[0], scored[0]), max(drawn[1], scored[1])
    difference, by_seed = float(steps.mean()), _variance_by_seed(steps)
    tail = (1 - CONFIDENCE) / 2
    from_seeds = float(stdtrit(seeds - 1, tail)) ** 2 * by_seed if seeds > 1 else 0.0
    return (
        max(difference - math.sqrt((difference - low) ** 2 + from_seeds), -most),
        min(difference + math.sqrt((high - difference) ** 2 + from_seeds), most),
    )


def _bootstrap_interval(steps: Steps) -> tuple[float, float]:
    """Percentiles of the mean difference over bootstrap samples of the texts."""
    texts = steps.shape[1]
    patterns, counts = np.unique(steps, axis=1, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(texts, counts / texts, _DRAWS)
    means = drawn @ patterns.mean(axis=0) / texts
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def _score_interval(discordant: _Discordant, texts: int) -> tuple[float, float]:
    """The differences that the score test does not reject (Tango 1998)."""
    from scipy.optimize import brentq  # slow to load
    from scipy.special import ndtri

    only_b, only_a, step = discordant
    found = (only_b - only_a) / texts
    squared_quantile = float(ndtri((1 - CONFIDENCE) / 2)) ** 2

    def beyond(difference: float) -> float:
        """Positive if the test rejects ``difference``."""
        # The maximum likelihood share of ``only_a``, given the difference, solves a quadratic.
        linear = (2 * texts - only_b + only_a) * difference - only_b - only_a
        constant = -only_a * difference * (1 - difference)
        root = math.sqrt(max(linear**2 - 8 * texts * constant, 0.0))
        share = max(root - linear, 0.0) / (4 * texts)
        variance = max(2 * share + difference * (1 - difference), 0.0)
        return (found - difference) ** 2 * texts - squared_quantile * variance

    def limit(end: float) -> float:
        beside = found + 1e-9 * (end - found)  # at ``found`` itself the variance may be 0
        return float(brentq(beyond, beside, end)) if beyond(beside) < 0 < beyond(end) else end

    return limit(-1.0) * step, limit(1.0) * step
