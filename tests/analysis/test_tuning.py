"""Choosing by validation scores, the expected best score, edges, and verdicts between choices."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from clsbench.analysis.paired import compare_correct, holm, verdict_on
from clsbench.analysis.tuning import (
    choice,
    choose,
    edges,
    expected_best,
    has_budget,
    tuning_cost,
)
from clsbench.results.suite_results import RowResult, RowTuning, SuiteResults, TrialResult
from clsbench.schema.tuning import TuneSpec


def trial(score: float | None, loss: float | None = 0.5, **fields: Any) -> TrialResult:
    return TrialResult(point={}, run="a", score=score, validation_loss=loss, **fields)


def test_choose_highest_score_then_lower_loss_then_earlier_trial() -> None:
    assert choose([trial(0.8), trial(0.9), trial(0.7)]) == 1
    assert choose([trial(0.9, 0.4), trial(0.9, 0.3), trial(0.9, 0.3)]) == 1
    assert choose([trial(0.9, 0.2), trial(0.9, None), trial(0.9, 0.1)]) == 0, "a loss is unknown"
    assert choose([trial(None), trial(0.1)]) == 1
    assert choose([trial(None)]) is None
    assert choose([trial(0.8), trial(None), trial(0.3)], lower=True) == 2


def test_expected_best_is_the_mean_over_all_draws_with_replacement() -> None:
    scores = (0.7, 0.9, 0.9, 0.5)
    for trials, found in enumerate(expected_best(scores), 1):
        draws = itertools.product(scores, repeat=trials)
        assert found == pytest.approx(np.mean([max(draw) for draw in draws]))


def test_expected_best_grows_from_the_mean_towards_the_best() -> None:
    found = expected_best([0.1 * n for n in range(10)])
    assert found[0] == pytest.approx(0.45)
    assert list(found) == sorted(found)
    assert found[-1] < 0.9
    assert expected_best([0.4]) == (0.4,)
    assert expected_best([]) == ()
    assert expected_best([3.0, 1.0], lower=True) == pytest.approx((2.0, 1.5))


def test_edges_are_the_ends_of_numbers_only() -> None:
    space = {"lr": (1e-3, 1e-5, 1e-4), "epochs": (5,), "pooling": ("a", "b"), "on": (True, False)}
    point = {"lr": 1e-3, "epochs": 5, "pooling": "b", "on": True}
    assert edges(space, point) == {"lr": "highest"}
    assert edges(space, {**point, "lr": 1e-5}) == {"lr": "lowest"}
    assert edges(space, {**point, "lr": 1e-4}) == {}


def row(label: str, *trials: TrialResult, budget: int | None = None) -> RowResult:
    tuning = RowTuning(budget=budget or len(trials), trials=trials, chosen=choose(trials))
    return RowResult(label=label, title="", changes={}, published=None, runs=("a",), tuning=tuning)


def suite(*rows: RowResult) -> SuiteResults:
    return SuiteResults(
        name="s", description="", base="", for_all={}, seeds=1, source="", conditions="",
        command=(), created="", rows=rows, tune=TuneSpec(space={"lr": (1, 2)}),
    )  # fmt: skip


def test_has_budget_with_fewer_trials_than_another_row_is_not_compared() -> None:
    few, many = row("few", trial(0.9)), row("many", trial(0.9), trial(0.8))
    untuned = replace(few, label="untuned", tuning=None)
    problems: list[str] = []
    results = suite(few, many, untuned)
    assert [has_budget(each, results, problems) for each in results.rows] == [False, True, False]
    assert problems == [
        "row few is not compared: it had 1 of 2 trials",
        "row untuned is not compared: it had 0 of 2 trials",
    ]
    failed = row("failed", trial(0.9), TrialResult(point={}, error="the loss is infinite"))
    assert has_budget(failed, suite(failed, many), []), "a failed trial counts as tried"


def test_choice_describes_the_chosen_trial_and_the_cost_of_all() -> None:
    trials = [
        TrialResult(point={"lr": 1}, run="a", score=0.8, prefix_seconds=5, training_seconds=1),
        TrialResult(point={"lr": 2}, run="b", score=0.9, training_seconds=2, prefix_found=True),
        TrialResult(point={"lr": 3}, error="the loss is infinite"),
    ]
    tune = TuneSpec(space={"train.lr": (1, 2, 3)})
    found = choice(row("1", *trials), tune)
    assert found is not None
    assert (found.point, found.score, found.edges) == ({"lr": 2}, 0.9, {})
    assert (found.trials, found.failed) == (3, 1)
    assert found.expected == pytest.approx((0.85, 0.875))
    assert found.cost == (8.0, False)
    assert tuning_cost(RowTuning(budget=1, trials=(trials[1],)), tune).prefix_found


def test_tuning_cost_counts_the_prefix_of_an_earlier_run_once() -> None:
    """The cost is that of trials of which the first computes the prefix."""
    trials = tuple(
        TrialResult(point={}, run=str(n), training_seconds=1, prefix_found_seconds=seconds)
        for n, seconds in enumerate((5, 5, 5))
    )
    tuning = RowTuning(budget=3, trials=trials)
    assert tuning_cost(tuning, TuneSpec(space={"train.lr": (1, 2, 3)})) == (8.0, False)
    assert tuning_cost(tuning, TuneSpec(space={"pooling": ("mean",)})) == (18.0, False)
    first = replace(trials[0], prefix_seconds=5, prefix_found_seconds=0)
    tuning = RowTuning(budget=3, trials=(first, *trials[1:]))
    assert tuning_cost(tuning, TuneSpec(space={"train.lr": (1, 2, 3)})) == (8.0, False)


# --- verdicts between tuned methods, simulated ----------------------------------------------------

VALIDATION, TEST, SIMULATIONS = 149, 300, 300


class Method:
    """A method that is equal to every other: its points have qualities drawn from one distribution,
    and each text is right if quality and luck exceed its difficulty."""

    def __init__(
        self,
        generator: np.random.Generator,
        difficulty: np.ndarray,
        qualities: np.ndarray,
        by_seed: float,
    ) -> None:
        self._generator = generator
        self._difficulty = difficulty
        self._qualities = qualities
        self._by_seed = by_seed

    def _run(self, point: int) -> np.ndarray:
        luck = self._generator.normal(0, 1, self._difficulty.shape)
        of_seed = self._generator.normal(0, self._by_seed)
        return np.asarray(self._qualities[point] + of_seed + luck > self._difficulty)

    def tuned(self, trials: int, seeds: int) -> np.ndarray:
        """Which test texts the chosen point classifies correctly: (seeds, TEXTS)."""
        runs = [self._run(point) for point in range(trials)]
        chosen = choose([trial(float(run[:VALIDATION].mean()), None) for run in runs])
        assert chosen is not None
        repeats = [self._run(chosen) for _ in range(seeds - 1)]
        return np.stack([run[VALIDATION:] for run in (runs[chosen], *repeats)])


def significant(
    trials: tuple[int, ...],
    seeds: int,
    varied: float,
    by_seed: float,
    common: bool,
    simulations: int = SIMULATIONS,
) -> float:
    """The share of simulated suites with a significant difference between methods that are equal.

    ``varied`` is the spread of the qualities of a method's points; ``common``: a point has the same
    quality in every method.
    """
    generator = np.random.default_rng(20)
    found = 0
    for _ in range(simulations):
        difficulty = generator.normal(-2.5, 2.0, VALIDATION + TEST)
        shared = generator.normal(0, varied, max(trials))
        correct = []
        for count in trials:
            qualities = shared if common else generator.normal(0, varied, max(trials))
            method = Method(generator, difficulty, qualities, by_seed)
            correct.append(method.tuned(count, seeds))
        pairs = [compare_correct(a, b) for a, b in itertools.combinations(correct, 2)]
        verdicts = [
            verdict_on(pair.difference, p)
            for pair, p in zip(pairs, holm([pair.p for pair in pairs]), strict=True)
        ]
        found += any(verdict != "no difference shown" for verdict in verdicts)
    return found / simulations


AS_STATED = stats.binom.isf(0.01, SIMULATIONS, 0.05) / SIMULATIONS
"""At most one suite in twenty, up to the random variation of the simulation."""


@pytest.mark.parametrize("methods", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_verdicts_between_equal_methods_tuned_alike_are_rarely_significant(methods: int) -> None:
    """Choosing by validation does not make the test of the chosen classifiers significant."""
    assert significant((8,) * methods, 1, varied=0.0, by_seed=0.0, common=True) <= AS_STATED


@pytest.mark.slow
def test_verdicts_over_seeds_between_equal_methods_are_rarely_significant() -> None:
    """With variation between seeds: the trial that was lucky on its first seed is repeated."""
    assert significant((8, 8), 5, varied=0.0, by_seed=0.3, common=True) <= AS_STATED


@pytest.mark.slow
def test_verdicts_between_equal_methods_that_choose_differently_are_about_the_choices() -> None:
    """If points differ in quality, equal methods may choose different ones, which then differ: the
    rate is above that of equal points, but far below that of unequal budgets."""
    rate = significant((8,) * 4, 5, varied=0.5, by_seed=0.3, common=True, simulations=100)
    assert rate < 0.2


def test_verdicts_between_equal_methods_with_unequal_budgets_favour_more_trials() -> None:
    """Why unequal budgets are refused."""
    rate = significant((1, 16), 1, varied=1.0, by_seed=0.0, common=False)
    assert rate > 5 * 0.05
