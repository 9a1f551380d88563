"""Times against a swept setting: fitted exponents."""

from __future__ import annotations

import pytest

from clsbench.report.plots.growth import fitted_exponent


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7, 2.0])
def test_fitted_exponent_of_a_power_law_is_its_exponent(exponent: float) -> None:
    numbers = [8.0, 16.0, 32.0, 64.0]
    seconds = [3e-3 * number**exponent for number in numbers]
    assert fitted_exponent(numbers, seconds) == pytest.approx(exponent, abs=1e-9)
    assert fitted_exponent(numbers[:2], seconds[:2]) is None, "two points fit any power"
