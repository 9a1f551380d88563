"""Mean ranks over data sets and their tests, against the examples of Demšar, JMLR 7 (2006)."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from clsbench.analysis.ranks import (
    FEWEST_DATASETS,
    RankTest,
    critical_difference,
    differ,
    friedman,
    rank_scores,
    rank_test,
    tied_groups,
    wilcoxon,
)

# The paper's table 6: AUC of C4.5 without and with tuned m, cf and both, on 14 data sets of UCI. It
# prints 0.975 twice for "voting", with the ranks 2 and 3: before rounding, they were not equal.
C45 = np.array([
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975],
    [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_friedman_of_the_published_example_gives_the_published_figures() -> None:
    ranks = rank_scores(C45)
    assert ranks.mean(axis=0).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    test = friedman(ranks)
    assert (round(test.statistic, 2), round(test.f or 0, 2)) == (9.28, 3.69)
    assert test.p < 0.05  # the paper: F(3, 39) is 2.85 at 5 %
    assert test.critical_difference == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, level=0.1) == pytest.approx(1.12, abs=0.005)
    assert rank_test(C45) == test
    # "the post-hoc test is not powerful enough": the best and the worst do not differ.
    assert not differ(3.143, 1.964, test)
    order = sorted(ranks.mean(axis=0))
    assert tied_groups(order, test) == [(0, 3)]
    # At 10 %, C4.5 is worse than C4.5+m and C4.5+m+cf, and C4.5+cf may belong to either group.
    wider = replace(test, critical_difference=critical_difference(4, 14, level=0.1))
    assert tied_groups(order, wider) == [(0, 2), (2, 3)]


@pytest.mark.parametrize(
    ("methods", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)]
)
def test_critical_difference_has_the_published_quantiles(methods: int, quantile: float) -> None:
    """The paper's table 5, up to its last digit."""
    unit = (methods * (methods + 1) / 6) ** 0.5
    assert critical_difference(methods, 1) / unit == pytest.approx(quantile, abs=0.0011)


def test_wilcoxon_of_the_published_example_gives_the_published_statistic() -> None:
    """C4.5 against C4.5+m: T = 12, below the critical value of 21."""
    found = rank_test(C45[:, :2])
    assert found is not None
    assert (found.name, found.statistic, found.significant) == ("wilcoxon", 12, True)
    assert found.better == 1
    assert replace(found, better=0) == wilcoxon(C45[:, 1::-1])


def test_wilcoxon_of_equal_scores_is_not_significant() -> None:
    assert wilcoxon(np.zeros((6, 2))) == RankTest(name="wilcoxon", statistic=10.5, p=1.0)


def test_rank_scores_averages_ties_and_ignores_rounding_errors() -> None:
    scores = np.array([[0.1 + 0.2, 0.3, 0.9], [0.5, 0.6, 0.6]])
    assert rank_scores(scores).tolist() == [[2.5, 2.5, 1], [3, 1.5, 1.5]]


def test_friedman_of_equal_ranks_on_all_data_sets_is_significant_and_finite() -> None:
    test = rank_test(np.tile([0.9, 0.8, 0.7], (6, 1)))
    assert test is not None
    assert (test.statistic, test.f, test.p) == (pytest.approx(12), None, 0)
    assert tied_groups([1, 2, 3], test) == [(0, 1), (1, 2)]
    equal = rank_test(np.ones((6, 3)))
    assert equal is not None
    assert (equal.statistic, equal.p) == (0, 1)


def test_rank_test_of_few_data_sets_is_none() -> None:
    assert rank_test(C45[: FEWEST_DATASETS - 1]) is None
    assert rank_test(C45[:FEWEST_DATASETS]) is not None


def test_differ_without_a_significant_test_is_false() -> None:
    test = RankTest(name="friedman", statistic=1, p=0.06, critical_difference=0.5)
    assert not differ(1, 3, test)
    assert tied_groups([1, 2, 3], test) == [(0, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("datasets", "methods"), [(6, 3), (6, 5), (8, 4), (10, 8), (20, 4)])
def test_rank_test_of_equally_good_methods_rarely_finds_a_difference(
    datasets: int, methods: int
) -> None:
    """Some pair differs significantly in at most 5 % of the simulations, up to their error."""
    generator = np.random.default_rng(datasets * methods)
    found = 0
    for _ in range(500):
        scores = generator.random((datasets, methods)).round(1)  # with ties
        ranks = sorted(rank_scores(scores).mean(axis=0))
        test = rank_test(scores)
        assert test is not None
        found += differ(ranks[0], ranks[-1], test)
    assert found <= 500 * 0.05 + 2.33 * (500 * 0.05 * 0.95) ** 0.5
