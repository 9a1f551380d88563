"""Mean ranks of methods over data sets, with a test.

On each data set, the best method has rank 1, and equal ones have the mean of their ranks. More than
two methods are tested by Friedman's test in the form of Iman and Davenport; if it is significant,
two methods differ significantly if their mean ranks differ by at least Nemenyi's critical
difference. Two methods are tested by Wilcoxon's signed-rank test.

Source: Demšar, JMLR 7 (2006), sections 3.1.3, 3.2.2 and 3.2.4.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from clsbench.analysis.metrics import CONFIDENCE

LEVEL = 1 - CONFIDENCE
"""The level of significance."""

FEWEST_DATASETS = 6
"""With fewer, no test is made: of two methods, even one that is better on all five data sets is not
significantly better."""

_DECIMALS = 12
"""Scores that agree to this precision are equal; means over seeds may differ by rounding."""

Scores = NDArray[np.float64]
"""(N, K): the score of each of K methods on each of N data sets; higher is better."""


class RankTest(msgspec.Struct, frozen=True, kw_only=True):
    """The test of the mean ranks; ``p`` is that all methods are equally good.

    ``name`` is ``friedman`` or ``wilcoxon``. Of Friedman's test, ``statistic`` is chi-squared with
    k - 1 degrees of freedom, without a correction for ties, and ``f`` the statistic of Iman and
    Davenport, from which ``p`` is computed; it is ``None`` if the ranks are the same on all data
    sets, where it is infinite. Of Wilcoxon's, ``statistic`` is the smaller sum of ranks.
    """

    name: str
    statistic: float
    f: float | None = None
    p: float
    critical_difference: float | None = None
    better: int | None = None

    @property
    def significant(self) -> bool:
        """Whether some methods differ significantly."""
        return self.p <= LEVEL


def rank_scores(scores: Scores) -> Scores:
    """The ranks of the methods on each data set, (N, K)."""
    from scipy.stats import rankdata  # slow to load

    ranks: Scores = rankdata(-scores.round(_DECIMALS), axis=1)
    return ranks


def rank_test(scores: Scores) -> RankTest | None:
    """The test of all methods; ``None`` with fewer than :data:`FEWEST_DATASETS` data sets."""
    if len(scores) < FEWEST_DATASETS:
        return None
    if scores.shape[1] == 2:
        return wilcoxon(scores)
    return friedman(rank_scores(scores))


def friedman(ranks: Scores) -> RankTest:
    """Friedman's test of ranks (N, K), and Nemenyi's critical difference."""
    from scipy.stats import f as f_distribution  # slow to load

    n, k = ranks.shape
    squares = float((ranks.mean(axis=0) ** 2).sum())
    chi_squared = 12 * n / (k * (k + 1)) * (squares - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi_squared
    f = (n - 1) * chi_squared / rest if rest > 1e-9 else math.inf
    return RankTest(
        name="friedman",
        statistic=chi_squared,
        f=f if math.isfinite(f) else None,
        p=float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1))),
        critical_difference=critical_difference(k, n),
    )


def critical_difference(methods: int, datasets: int, level: float = LEVEL) -> float:
    """The smallest significant difference of two mean ranks by Nemenyi's test."""
    from scipy.stats import studentized_range  # slow to load

    quantile = float(studentized_range.ppf(1 - level, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * datasets))


def wilcoxon(scores: Scores) -> RankTest:
    """Wilcoxon's signed-rank test of the scores (N, 2) of two methods.

    The ranks of equal scores are divided between both methods. The test weighs the sizes of the
    differences, so the method that it finds better may have the higher mean rank.
    """
    import scipy.stats  # slow to load

    differences = (scores[:, 1] - scores[:, 0]).round(_DECIMALS)
    n = len(differences)
    if not differences.any():
        return RankTest(name="wilcoxon", statistic=n * (n + 1) / 4, p=1.0)
    found = scipy.stats.wilcoxon(differences, zero_method="zsplit")
    balance = np.sign(differences) @ scipy.stats.rankdata(abs(differences))
    return RankTest(
        name="wilcoxon",
        statistic=float(found.statistic),
        p=float(found.pvalue),
        better=int(balance > 0) if balance else None,
    )


def tied_groups(mean_ranks: list[float], test: RankTest) -> list[tuple[int, int]]:
    """Groups of methods that do not differ significantly, as places of the first and the last.

    ``mean_ranks`` are in ascending order. A group that is part of another is left out.
    """
    last = len(mean_ranks) - 1
    if not test.significant:
        return [(0, last)]
    if test.critical_difference is None:
        return []
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(mean_ranks):
        end = max(p for p, r in enumerate(mean_ranks) if not differ(rank, r, test))
        if end > first and (not groups or end > groups[-1][1]):
            groups.append((first, end))
    return groups


def differ(one: float, other: float, test: RankTest) -> bool:
    """Whether two methods with these mean ranks differ significantly."""
    limit = test.critical_difference
    return test.significant and (limit is None or abs(one - other) >= limit)
