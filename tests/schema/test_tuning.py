"""The tuning of a suite: values, trials and what rows must not fix."""

from __future__ import annotations

from typing import Any

import pytest

from clsbench.errors import UsageError
from clsbench.schema.suite import parse_suite
from clsbench.schema.tuning import TuneSpec, check_tune, overlap, refuse_fixed

SUITE = """
base = "gpt2-sms-spam"

[tune]
trials = 3
space = {"train.lr" = [1e-5, 1e-4], "train.epochs" = [2, 5]}

[[rows]]
changes = {freezing = "all"}
"""


def test_parse_suite_reads_the_tuning() -> None:
    tune = parse_suite(SUITE, "mine.toml").tune
    assert tune == TuneSpec(space={"train.lr": (1e-5, 1e-4), "train.epochs": (2, 5)}, trials=3)
    assert tune.points == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials = 3", "trials = 0", "tune.trials = 0: expected"),
        ("trials = 3", "trails = 3", "unknown key 'trails' in tune"),
        ("[1e-5, 1e-4]", "1e-5", "space"),
        (
            'freezing = "all"',
            '"train.lr" = 1e-3',
            "row 1 sets train.lr, but train.lr is tuned: every row is tuned over the same values "
            "with the same number of trials",
        ),
    ],
)
def test_parse_suite_with_an_invalid_tuning_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_suite(SUITE.replace(old, new), "mine.toml")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"seed": (1, 2)}, "the seed is not tuned: --seeds"),
        ({"baselines": ("majority",)}, "baselines cannot be tuned"),
        ({"metric": ("accuracy", "macro-f1")}, "trials are chosen by one metric: --metric"),
        ({"train.lr": ()}, "train.lr has no values"),
        ({"train.lr": (1.0, 1)}, "train.lr names a value twice"),
        ({"freezing": ("all",), "freezing.n": (1, 2)}, "one sets the other"),
        ({"method": ("lora",), "adapter.r": (1, 2)}, "one sets the other"),
    ],
)
def test_check_tune_refuses_what_cannot_be_tuned(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^here: .*{message}"):
        check_tune(TuneSpec(space=space), "here")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("train.lr", "train.lr", True),
        ("train", "train.lr", True),
        ("freezing.n", "freezing", True),
        ("method", "freezing.n", True),
        ("method", "pooling", False),
        ("train.lr", "train.lr_end", False),
    ],
)
def test_overlap_of_keys(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == expected


def test_refuse_fixed_accepts_other_keys() -> None:
    tune = TuneSpec(space={"train.lr": (1e-4, 1e-3)})
    refuse_fixed(tune, ["freezing", "train.epochs"], "row 1")
    with pytest.raises(UsageError, match=r"row 1 sets train\.lr"):
        refuse_fixed(tune, ["freezing", "train.lr"], "row 1")
