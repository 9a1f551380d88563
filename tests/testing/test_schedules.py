from __future__ import annotations

import itertools
import math

import pytest

import clsbench
from clsbench.testing import check_schedule

_NUMBERS = itertools.count(1)


class Sine(clsbench.Schedule, frozen=True):
    """Becomes negative."""

    def factor(self, step: int, steps: int) -> float:
        """The sine of the step."""
        return math.sin(step + 1)


class Nothing(clsbench.Schedule, frozen=True):
    """Never trains."""

    def factor(self, step: int, steps: int) -> float:
        """Zero."""
        return 0.0


class Counting(clsbench.Schedule, frozen=True):
    """Depends on earlier calls."""

    def factor(self, step: int, steps: int) -> float:
        """Another number each time."""
        return 1 / next(_NUMBERS)


class NotANumber(clsbench.Schedule, frozen=True):
    """Divides by zero at the end."""

    def factor(self, step: int, steps: int) -> float:
        """Not a number in the last step."""
        return math.nan if step + 1 == steps else 1.0


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Sine(), "expected a finite number"),
        (Nothing(), "every factor of 1 steps is 0"),
        (Counting(), "differs when called again"),
        (NotANumber(), r"factor\(0, 1\) returns nan"),
    ],
)
def test_check_schedule_broken_contract_is_found(schedule: clsbench.Schedule, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_schedule(schedule)
