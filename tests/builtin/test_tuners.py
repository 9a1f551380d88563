"""The tuners ``random``, ``grid`` and ``optuna``."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from clsbench import Trial, Tuner
from clsbench.builtin.tuners import Grid, Optuna, RandomSearch

SPACE: dict[str, Any] = {"train.lr": (1e-3, 1e-5, 1e-4), "train.epochs": (2, 5, 10, 20)}


def search(tuner: Tuner, trials: int, seed: int = 1) -> list[dict[str, Any]]:
    """All trials; the best has a learning rate of 1e-4 and many epochs."""
    tried: list[Trial] = []
    while len(tried) < trials:
        for point in tuner.propose(SPACE, trials, seed, tried):
            score = (point["train.lr"] == 1e-4) + point["train.epochs"] / 100
            tried.append(Trial(point, score))
    return [dict(trial.point) for trial in tried]


def test_random_with_more_trials_extends_the_same_order() -> None:
    few, many = search(RandomSearch(), 4), search(RandomSearch(), 12)
    assert many[:4] == few
    assert sorted(many, key=str) == sorted(search(Grid(), 12), key=str), "each combination once"
    assert search(RandomSearch(), 4, seed=2) != few


def test_random_proposes_the_rest_after_an_interruption() -> None:
    everything = search(RandomSearch(), 6)
    tried = [Trial(point, None) for point in everything[:2]]
    assert RandomSearch().propose(SPACE, 6, 1, tried) == everything[2:]


def test_grid_proposes_every_combination_last_key_fastest() -> None:
    points = Grid().propose(SPACE, 12, 1, [])
    assert len(points) == 12
    assert [point["train.epochs"] for point in points[:5]] == [2, 5, 10, 20, 2]
    assert [point["train.lr"] for point in points[::4]] == [1e-3, 1e-5, 1e-4]


@pytest.mark.slow
def test_optuna_finds_better_combinations_than_a_random_search() -> None:
    pytest.importorskip("optuna", reason="an extra")
    space = {"train.lr": tuple(10.0**-n for n in range(10)), "train.epochs": tuple(range(10))}

    def best(tuner: Tuner, seed: int) -> float:
        tried: list[Trial] = []
        while len(tried) < 20:
            for point in tuner.propose(space, 20, seed, tried):
                score = -abs(point["train.epochs"] - 7) - abs(math.log10(point["train.lr"]) + 3)
                tried.append(Trial(point, score))
        return max(trial.score or 0.0 for trial in tried)

    optuna, random = (
        statistics.fmean(best(tuner, seed) for seed in range(8))
        for tuner in (Optuna(), RandomSearch())
    )
    assert optuna > random + 0.2
