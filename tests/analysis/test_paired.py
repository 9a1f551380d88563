"""Paired comparisons, checked with closed forms, with scipy and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from clsbench.analysis.paired import (
    Correct,
    RankRange,
    _Discordant,
    _score_interval,
    compare_correct,
    holm,
    rank_ranges,
    verdict_on,
)


def one_run(both: int, only_a: int, only_b: int, neither: int) -> tuple[Correct, Correct]:
    """A and B, given how many texts both, only one or neither classifies correctly."""
    kinds = [(1, 1)] * both + [(1, 0)] * only_a + [(0, 1)] * only_b + [(0, 0)] * neither
    a, b = np.array(kinds, dtype=bool).T
    return a[None], b[None]


@given(
    only_a=st.integers(0, 40), only_b=st.integers(0, 40), both=st.integers(1, 200)
)  # fmt: skip
def test_compare_correct_one_seed_p_is_mcnemars(only_a: int, only_b: int, both: int) -> None:
    found = compare_correct(*one_run(both, only_a, only_b, 7))
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    assert found.p == pytest.approx(min(2 * tail, 1.0))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.difference == pytest.approx((only_b - only_a) / (both + n + 7))
    assert found.interval[0] <= found.difference + 1e-12
    assert found.difference - 1e-12 <= found.interval[1]


def test_compare_correct_one_seed_interval_agrees_with_scipys_bootstrap() -> None:
    a, b = one_run(250, 10, 25, 15)
    steps = b[0].astype(float) - a[0]
    found = compare_correct(a, b)
    reference = stats.bootstrap(
        (steps,), np.mean, n_resamples=5000, method="percentile", random_state=1
    ).confidence_interval
    assert found.interval == pytest.approx((reference.low, reference.high), abs=0.004)


def test_score_interval_ends_have_a_p_of_5_percent() -> None:
    """At the ends of the interval, the score test of that difference has p = 5 %; the other
    proportions have their maximum likelihood values."""
    only_a, only_b, texts = 1, 9, 300
    low, high = _score_interval(_Discordant(only_b, only_a, 1.0), texts)
    found = (only_b - only_a) / texts

    def z(difference: float) -> float:
        def negative_likelihood(share_of_a: float) -> float:
            shares = (share_of_a + difference, share_of_a, 1 - difference - 2 * share_of_a)
            counts = (only_b, only_a, texts - only_a - only_b)
            return -sum(n * math.log(max(p, 1e-300)) for n, p in zip(counts, shares, strict=True))

        least = max(0.0, -difference)
        most = (1 - difference) / 2
        best_share = optimize.minimize_scalar(
            negative_likelihood, bounds=(least, most), method="bounded", options={"xatol": 1e-12}
        ).x
        variance = (2 * best_share + difference - difference**2) / texts
        return float((found - difference) / math.sqrt(variance))

    assert z(low) == pytest.approx(1.96, abs=0.001)
    assert z(high) == pytest.approx(-1.96, abs=0.001)
    interval = compare_correct(*one_run(texts - only_a - only_b, only_a, only_b, 0)).interval
    assert interval[0] <= low < high <= interval[1]


@given(only_b=st.integers(0, 8), only_a=st.integers(0, 8), seeds=st.integers(1, 3))
def test_compare_correct_interval_without_significance_contains_zero(
    only_b: int, only_a: int, seeds: int
) -> None:
    a, b = (np.repeat(side, seeds, axis=0) for side in one_run(100, only_a, only_b, 2))
    found = compare_correct(a, b)
    assert (found.interval[0] <= 0 <= found.interval[1]) or found.p <= 0.05


def test_compare_correct_variation_between_seeds_only_agrees_with_students_test() -> None:
    """Within a seed, all texts have the same difference: nearly all variation is between seeds."""
    a = np.array([[0] * 400, [0] * 400, [1] * 400, [0] * 400, [1] * 400], dtype=bool)
    b = np.ones_like(a)
    found = compare_correct(a, b)
    by_seed = (b.astype(float) - a).mean(axis=1)
    reference = stats.ttest_1samp(by_seed, 0)
    assert found.p == pytest.approx(reference.pvalue, rel=0.02)
    assert found.p > reference.pvalue
    interval = reference.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, min(interval.high, 1.0)), abs=1e-3)


@pytest.mark.parametrize(("only_a", "only_b"), [(20, 40), (0, 4), (0, 1)])
def test_compare_correct_repeated_seeds_do_not_change_the_result(only_a: int, only_b: int) -> None:
    one = one_run(200, only_a, only_b, 40)
    alone, repeated = (
        compare_correct(*(np.repeat(side, seeds, axis=0) for side in one)) for seeds in (1, 3)
    )
    assert repeated.p == pytest.approx(alone.p)
    assert repeated.interval == pytest.approx(alone.interval)
    assert (repeated.seeds, repeated.only_a, repeated.only_b) == (3, only_a, only_b)


def test_compare_correct_one_text_is_never_significant() -> None:
    found = compare_correct(np.zeros((5, 1), dtype=bool), np.ones((5, 1), dtype=bool))
    assert found.p == 1.0


def test_compare_correct_equal_predictions_have_an_interval_around_zero() -> None:
    a, _ = one_run(5, 0, 0, 2)
    for seeds in (1, 2):
        same = np.repeat(a, seeds, axis=0)
        found = compare_correct(same, same)
        assert (found.p, found.difference) == (1.0, 0.0)
        most = 1.96**2 / (7 + 1.96**2)
        assert found.interval == pytest.approx((-most, most), abs=1e-4)
    with pytest.raises(ValueError, match="equal in shape"):
        compare_correct(a, a[:, :-1])


@pytest.mark.parametrize("better", [0.003, 0.01, 0.03])
def test_compare_correct_interval_covers_a_small_difference(better: float) -> None:
    """B is always correct, A almost always: the bootstrap alone covers 60 % in the first case."""
    generator = np.random.default_rng(3)
    b = np.ones((1, 300), dtype=bool)
    covered = 0
    for _ in range(300):
        low, high = compare_correct(generator.random((1, 300)) >= better, b).interval
        covered += low <= better <= high
    assert covered >= stats.binom.ppf(0.001, 300, 0.95)


def classifiers(
    generator: np.random.Generator, seeds: int, by_seed: float, better: float
) -> tuple[Correct, Correct]:
    """Two classifiers on 300 texts of varying difficulty; seeds vary with deviation ``by_seed``."""
    easy = generator.normal(2.5, 2.0, 300)

    def side(shift: float) -> Correct:
        of_seeds = generator.normal(0, by_seed, (seeds, 1))
        return np.asarray(easy + shift + of_seeds + generator.normal(0, 1, (seeds, 300)) > 0)

    return side(0.0), side(better)


@pytest.mark.parametrize(
    ("seeds", "by_seed"),
    [
        (1, 0.0),
        pytest.param(2, 0.3, marks=pytest.mark.slow),
        pytest.param(3, 0.3, marks=pytest.mark.slow),
        pytest.param(5, 1.0, marks=pytest.mark.slow),
    ],
)
def test_compare_correct_equal_classifiers_are_rarely_significant(
    seeds: int, by_seed: float
) -> None:
    """At most one pair in twenty, up to the random variation of the simulation."""
    generator = np.random.default_rng(7)
    found = [compare_correct(*classifiers(generator, seeds, by_seed, 0.0)) for _ in range(200)]
    verdicts = [verdict_on(each.difference, each.p) for each in found]
    significant = sum(verdict != "no difference shown" for verdict in verdicts)
    assert significant <= stats.binom.isf(0.01, 200, 0.05)
    covering = sum(low <= 0 <= high for low, high in (each.interval for each in found))
    assert covering >= stats.binom.ppf(0.001, 200, 0.95)


@pytest.mark.slow
def test_compare_correct_better_classifier_is_significant() -> None:
    generator = np.random.default_rng(8)
    found = [compare_correct(*classifiers(generator, 5, 0.1, 1.0)) for _ in range(50)]
    assert sum(verdict_on(each.difference, each.p) == "better" for each in found) >= 48


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_agrees_with_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    everything = range(len(p_values))
    subsets = [
        s for size in range(1, len(p_values) + 1) for s in itertools.combinations(everything, size)
    ]
    for index, corrected in enumerate(holm(p_values)):
        within = [len(s) * min(p_values[i] for i in s) for s in subsets if index in s]
        assert corrected == pytest.approx(min(max(within), 1.0))


def test_rank_ranges_without_significance_include_both_orders() -> None:
    same = "no difference shown"
    assert rank_ranges([[None, same], [same, None]]) == (RankRange(1, 2), RankRange(1, 2))
    verdicts = [
        [None, "better", "better"],
        ["worse", None, same],
        ["worse", same, None],
    ]
    assert rank_ranges(verdicts) == (RankRange(1, 1), RankRange(2, 3), RankRange(2, 3))
