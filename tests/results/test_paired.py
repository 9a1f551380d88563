"""Paired comparisons: against closed forms, against scipy, and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clsbench.results.paired import (
    Correct,
    RankRange,
    compare_correct,
    holm,
    rank_ranges,
    verdict_on,
)


def one_run(both: int, only_a: int, only_b: int, neither: int) -> tuple[Correct, Correct]:
    """A and B by how many texts both, one or none of them call right."""
    kinds = [(1, 1)] * both + [(1, 0)] * only_a + [(0, 1)] * only_b + [(0, 0)] * neither
    a, b = np.array(kinds, dtype=bool).T
    return a[None], b[None]


@given(
    only_a=st.integers(0, 40), only_b=st.integers(0, 40), both=st.integers(1, 200)
)  # fmt: skip
def test_mcnemar_is_the_sum_of_binomials(only_a: int, only_b: int, both: int) -> None:
    found = compare_correct(*one_run(both, only_a, only_b, 7))
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    assert found.p == pytest.approx(min(2 * tail, 1.0))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.difference == pytest.approx((only_b - only_a) / (both + n + 7))
    assert found.interval[0] <= found.difference + 1e-12
    assert found.difference - 1e-12 <= found.interval[1]


def test_one_runs_interval_is_that_of_a_bootstrap_of_scipy() -> None:
    a, b = one_run(250, 10, 25, 15)
    steps = b[0].astype(float) - a[0]
    found = compare_correct(a, b)
    reference = stats.bootstrap(
        (steps,), np.mean, n_resamples=5000, method="percentile", random_state=1
    ).confidence_interval
    assert found.interval == pytest.approx((reference.low, reference.high), abs=0.004)


def test_where_texts_agree_seeds_decide_as_in_students_test() -> None:
    """Every text gives the same difference within a seed: only the seeds vary."""
    a = np.array([[0] * 40, [0] * 40, [1] * 40, [0] * 40, [1] * 40], dtype=bool)
    b = np.array([[1] * 40, [1] * 40, [1] * 40, [1] * 40, [1] * 40], dtype=bool)
    found = compare_correct(a, b)
    by_seed = (b.astype(float) - a).mean(axis=1)
    reference = stats.ttest_1samp(by_seed, 0)
    assert found.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, min(interval.high, 1.0)))


def test_where_seeds_agree_texts_decide() -> None:
    a, b = one_run(200, 20, 40, 40)
    found = compare_correct(np.repeat(a, 3, axis=0), np.repeat(b, 3, axis=0))
    steps = b[0].astype(float) - a[0]
    z = steps.mean() / (steps.std(ddof=1) / math.sqrt(len(steps)))
    assert found.p == pytest.approx(2 * stats.norm.sf(z))
    assert found.seeds == 3
    assert (found.only_a, found.only_b) == (20, 40)


def test_what_is_equal_differs_in_nothing() -> None:
    a, _ = one_run(5, 0, 0, 2)
    for seeds in (1, 2):
        same = np.repeat(a, seeds, axis=0)
        found = compare_correct(same, same)
        assert (found.p, found.difference, found.interval) == (1.0, 0.0, (0.0, 0.0))
    with pytest.raises(ValueError, match="equal in shape"):
        compare_correct(a, a[:, :-1])


def classifiers(
    generator: np.random.Generator, seeds: int, by_seed: float, better: float
) -> tuple[Correct, Correct]:
    """Two on 300 texts of different difficulty; a run's luck has the deviation ``by_seed``."""
    easy = generator.normal(2.5, 2.0, 300)

    def side(shift: float) -> Correct:
        luck = generator.normal(0, by_seed, (seeds, 1))
        return np.asarray(easy + shift + luck + generator.normal(0, 1, (seeds, 300)) > 0)

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
def test_equal_classifiers_are_rarely_told_apart(seeds: int, by_seed: float) -> None:
    """At most one pair in twenty, and as many again by chance of the simulation."""
    generator = np.random.default_rng(7)
    found = [compare_correct(*classifiers(generator, seeds, by_seed, 0.0)) for _ in range(200)]
    told = sum(verdict_on(each.difference, each.p) != "no difference shown" for each in found)
    assert told <= stats.binom.isf(0.01, 200, 0.05)
    covering = sum(low <= 0 <= high for low, high in (each.interval for each in found))
    assert covering >= stats.binom.ppf(0.001, 200, 0.95)


@pytest.mark.slow
def test_a_better_classifier_is_found() -> None:
    generator = np.random.default_rng(8)
    found = [compare_correct(*classifiers(generator, 5, 0.1, 1.0)) for _ in range(50)]
    assert sum(verdict_on(each.difference, each.p) == "better" for each in found) >= 48


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    everything = range(len(p_values))
    subsets = [
        s for size in range(1, len(p_values) + 1) for s in itertools.combinations(everything, size)
    ]
    for index, corrected in enumerate(holm(p_values)):
        within = [len(s) * min(p_values[i] for i in s) for s in subsets if index in s]
        assert corrected == pytest.approx(min(max(within), 1.0))


def test_ranks_are_left_open_by_what_is_not_shown() -> None:
    same = "no difference shown"
    assert rank_ranges([[None, same], [same, None]]) == (RankRange(1, 2), RankRange(1, 2))
    verdicts = [
        [None, "better", "better"],
        ["worse", None, same],
        ["worse", same, None],
    ]
    assert rank_ranges(verdicts) == (RankRange(1, 1), RankRange(2, 3), RankRange(2, 3))
