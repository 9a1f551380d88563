from __future__ import annotations

import pytest

import clsbench
from clsbench.builtin.schedules import Constant


def factors(schedule: clsbench.Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, steps) for step in range(steps)]


def test_constant_without_warm_up_is_always_exactly_1() -> None:
    for steps in (1, 2, 650):
        assert set(factors(Constant(), steps)) == {1.0}


def test_constant_warm_up_rises_in_even_steps_to_1() -> None:
    assert factors(Constant(warmup=0.3), 10) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 7])
