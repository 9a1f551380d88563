"""The verdict on a race."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("llms_from_scratch", reason="the peer is absent")

from clsbench.bench.interleaving import Comparison
from race_outcome import Equality, verdict


def equality(
    ours: float = 1.0, trainable: int = 10, double: tuple[float, float] | None = None
) -> Equality:
    return Equality(
        ours=[0.5, ours],
        book=[0.5, 1.0],
        our_trainable=trainable,
        book_trainable=10,
        double_ours=[double[0]] if double else [],
        double_book=[double[1]] if double else [],
    )


def step(ratio: float, low: float, high: float) -> Comparison:
    return Comparison(fast="a", slow="b", pairs=5, ratio=ratio, low=low, high=high)


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        (equality(), True),
        (equality(1.0 + 9e-6), True),
        (equality(1.0 + 2e-5), False),
        (equality(math.nan), False),
        (equality(trainable=11), False),
        (equality(1.0 + 2e-5, double=(3.0, 3.0 + 1e-12)), True),
        (equality(1.0 + 2e-5, double=(3.0, 3.0 + 1e-6)), False),
        (equality(trainable=11, double=(3.0, 3.0)), False),
    ],
)
def test_equality_requires_equal_losses_and_parameter_counts(given: Equality, holds: bool) -> None:
    assert given.holds is holds
    assert verdict(given, None, None).startswith("failed") is not holds


@pytest.mark.parametrize(
    ("found", "promised", "words"),
    [
        (None, 60, "not measured"),
        (Comparison(fast="a", slow="b", pairs=4), 60, "not measured"),
        (step(1.04, 0.9, 1.2), None, "no difference"),
        (step(2.0, 1.8, 2.2), None, "faster"),
        (step(0.5, 0.4, 0.6), None, "slower"),
        (step(59.0, 50, 70), 60, "below 60×"),
        (step(61.0, 50, 70), 60, "reaches 60×, not surely"),
        (step(80.0, 70, 90), 60, "reaches 60×"),
    ],
)
def test_verdict_depends_on_the_interval_and_the_promised_ratio(
    found: Comparison | None, promised: float | None, words: str
) -> None:
    assert verdict(equality(), found, promised) == words
