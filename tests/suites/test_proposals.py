"""Asking a tuner: the budget, and answers that break its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from clsbench import PluginError, Trial, Tuner, UsageError
from clsbench.builtin.metrics import Accuracy
from clsbench.components.catalog import Catalog
from clsbench.schema.tuning import TuneSpec
from clsbench.suites.proposals import Tuning, make_tuning

SPACE = {"train.lr": (1e-4, 1e-3), "train.epochs": (2, 5)}
GOOD = {"train.lr": 1e-4, "train.epochs": 2}


class Answers(Tuner, frozen=True):
    """Proposes what it is given."""

    points: list[dict[str, Any]]

    def propose(
        self, space: Mapping[str, Sequence[Any]], trials: int, seed: int, tried: Sequence[Trial]
    ) -> Sequence[Mapping[str, Any]]:
        return self.points


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "returned 0 points, expected 1 to 2"),
        ([GOOD] * 3, "returned 3 points, expected 1 to 2"),
        ([{"train.lr": 1e-4}], "train.lr=0.0001, which is not in the space"),
        ([{**GOOD, "train.lr": 1.0}], "which is not in the space"),
        ([{**GOOD, "train.epochs": 5}, {**GOOD, "train.epochs": 5}], "which was tried before"),
        ([GOOD], "which was tried before"),
        ([None], "TypeError"),
    ],
)
def test_next_points_that_break_the_contract_are_refused(points: list[Any], message: str) -> None:
    spec = TuneSpec(space=SPACE)
    tuning = Tuning(Answers(points), "answers", spec, 3, 123, "accuracy", Accuracy())
    with pytest.raises(PluginError, match=f"tuner answers: .*{message}"):
        tuning.next_points([Trial(GOOD, 0.5)])
    assert tuning.next_points([Trial(GOOD, 0.5)] * 3) == [], "the budget is used up"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tuner": "grid", "trials": 4}, r"tries every combination \(4\) and takes no number"),
        ({}, "requires the number of trials of each row, --trials N, at most 4 here"),
        ({"trials": 5}, "there are only 4 combinations of the values; use --tuner grid"),
        ({"trials": 2, "tuner": "randon"}, "did you mean 'random'"),
        ({"trials": 2, "tuner": "optuna:startup=0"}, "startup"),
    ],
)
def test_make_tuning_that_does_not_fit_is_refused(
    fields: dict[str, Any], message: str, catalog: Catalog
) -> None:
    with pytest.raises(UsageError, match=message):
        make_tuning(TuneSpec(space=SPACE, **fields), 123, "accuracy", catalog)


def test_make_tuning_of_a_grid_has_a_trial_for_each_combination(catalog: Catalog) -> None:
    assert make_tuning(TuneSpec(space=SPACE, tuner="grid"), 123, "accuracy", catalog).trials == 4
