"""``--tune``, ``--trials`` and ``--tuner`` on top of a suite's own tuning."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from clsbench.cli.tune import tuned
from clsbench.errors import UsageError
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.schema.tuning import TuneSpec

PLAIN = SuiteSpec(base="b", name="s", rows=(SuiteRow(label="1"),))
OWN = replace(PLAIN, tune=TuneSpec(space={"train.lr": (1e-4, 1e-3)}, trials=2))


def test_tuned_without_options_is_the_suite() -> None:
    assert tuned(OWN, (), None, None) is OWN


def test_tuned_with_values_has_a_name_of_its_own() -> None:
    found = tuned(PLAIN, ("train.lr=1e-4,1e-3", "batch=4,8"), 3, None)
    space = {"train.lr": (1e-4, 1e-3), "train.batch_size": (4, 8)}
    assert found.tune == TuneSpec(space=space, trials=3, tuner="random")
    assert found.name.startswith("s-tuned-")
    assert found.name != tuned(PLAIN, ("train.lr=1e-4,1e-3", "batch=4,8"), 4, None).name


def test_tuned_options_take_precedence_over_the_suites_own() -> None:
    assert tuned(OWN, (), 1, None).tune == replace(OWN.tune, trials=1)  # type: ignore[type-var]
    assert tuned(OWN, (), None, "grid").tune == TuneSpec(
        space={"train.lr": (1e-4, 1e-3)}, tuner="grid"
    )
    other = tuned(OWN, ("train.epochs=1,2",), None, None).tune
    assert other == TuneSpec(space={"train.epochs": (1, 2)}, trials=2)


@pytest.mark.parametrize(
    ("tunes", "trials", "tuner", "message"),
    [
        ((), 3, None, "--trials requires the values to try"),
        ((), None, "grid", "--tuner requires the values to try"),
        (("train.lr",), 3, None, "--tune 'train.lr' is not KEY=A,B,C"),
        (("train.lr=1,1.0",), 3, None, "--tune: train.lr names a value twice"),
        (("train.lr=1", "train.lr=2"), 3, None, "--tune train.lr=… is given twice"),
        (("seed=1,2",), 3, None, "--tune: seed cannot be tuned"),
    ],
)
def test_tuned_invalid_options_are_refused(
    tunes: tuple[str, ...], trials: int | None, tuner: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tuned(PLAIN, tunes, trials, tuner)
