from __future__ import annotations

import math

import pytest

import clsbench
from clsbench.builtin.schedules import Constant, Cosine, Linear, SlantedTriangular


def factors(schedule: clsbench.Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, steps) for step in range(steps)]


def test_constant_without_warm_up_is_always_exactly_1() -> None:
    for steps in (1, 2, 650):
        assert set(factors(Constant(), steps)) == {1.0}


def test_constant_warm_up_rises_in_even_steps_to_1() -> None:
    assert factors(Constant(warmup=0.3), 10) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 7])


def test_linear_decays_in_even_steps() -> None:
    assert factors(Linear(), 5) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert factors(Linear(warmup=0.4), 5) == pytest.approx([1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3])


def test_cosine_decays_along_half_a_cosine() -> None:
    assert factors(Cosine(), 4) == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert factors(Cosine(warmup=0.5), 4) == pytest.approx([1 / 3, 2 / 3, 1.0, 0.5])


def test_slanted_triangular_is_that_of_the_paper() -> None:
    """Howard and Ruder, equation 3, with T = 100, cut_frac = 0.1 and ratio = 32."""
    found = factors(SlantedTriangular(), 100)
    for step in range(100):
        share = step / 10 if step < 10 else 1 - (step - 10) / (10 * (1 / 0.1 - 1))
        assert found[step] == pytest.approx((1 + share * 31) / 32)
    assert found[0] == pytest.approx(1 / 32)
    assert max(found) == found[10] == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.999])
def test_schedules_of_any_length_rise_once_and_fall_once(warmup: float) -> None:
    for kind in (Constant, Linear, Cosine, SlantedTriangular):
        for steps in (1, 2, 3, 10, 19, 100):
            found = factors(kind(warmup=warmup), steps)
            top = found.index(max(found))
            assert found == [*sorted(found[:top]), *sorted(found[top:], reverse=True)]
            assert 0 < found[-1] <= max(found) <= 1
