"""The contract of a tuner: it proposes until the budget is used up, reproducibly, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clsbench.components.tuner import Trial, Tuner
from clsbench.testing.promises import check_options, require

SPACE: dict[str, Sequence[Any]] = {
    "train.lr": (1e-4, 1e-3, 1e-2),
    "train.epochs": (2, 5),
    "pooling": ("mean", "last-token"),
}
_FAILS = 1e-2
_SEEDS = (1, 2)


def check_tuner(tuner: Tuner) -> None:
    """Check that a tuner proposes a row's trials, as a suite asks for them.

    Proposals must consist of the given values, be new, and use up the number of trials, also when
    trials fail. They must depend on the arguments alone: a suite that continues after an
    interruption gets the same ones.

    Raises:
        AssertionError: the tuner breaks its contract.
    """
    check_options(tuner)
    every = 1
    for values in SPACE.values():
        every *= len(values)
    for trials in [every] if tuner.exhaustive else [1, 6, every]:
        for seed in _SEEDS[:1] if trials == every else _SEEDS:
            _check_search(tuner, trials, seed)


def _check_search(tuner: Tuner, trials: int, seed: int) -> None:
    tried: list[Trial] = []
    while len(tried) < trials:
        points = [dict(p) for p in tuner.propose(SPACE, trials, seed, tuple(tried))]
        again = [dict(p) for p in tuner.propose(SPACE, trials, seed, tuple(tried))]
        require(points == again, tuner, f"asked twice, it proposes {points} and {again}")
        left = trials - len(tried)
        require(
            1 <= len(points) <= left,
            tuner,
            f"it proposes {len(points)} trials; expected 1 to {left}",
        )
        for point in points:
            require(
                point.keys() == SPACE.keys() and all(point[key] in SPACE[key] for key in SPACE),
                tuner,
                f"it proposes {point}, which is not in the space {SPACE}",
            )
            known = [trial.point for trial in tried]
            require(point not in known, tuner, f"it proposes {point} twice")
            tried.append(Trial(point, _score(point)))


def _score(point: Mapping[str, Any]) -> float | None:
    """A score; the largest learning rate fails."""
    if point["train.lr"] == _FAILS:
        return None
    return float(0.5 + 100 * point["train.lr"] + 0.01 * point["train.epochs"])
