"""The growth of times with a setting: fitted, and drawn."""

from __future__ import annotations

import pytest

from clsbench.report.plots.growth import fitted_exponent
from clsbench.report.terminal.bench import duration_text


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7, 2.0])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    numbers = [8.0, 16.0, 32.0, 64.0]
    seconds = [3e-3 * number**exponent for number in numbers]
    assert fitted_exponent(numbers, seconds) == pytest.approx(exponent, abs=1e-9)
    assert fitted_exponent(numbers[:2], seconds[:2]) is None, "two points fit any power"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-9, "2.5 ns"),
        (4.17e-4, "417 µs"),
        (2.857e-3, "2.86 ms"),
        (1.3064, "1.31 s"),
        (1339.2, "1,339 s"),
    ],
)
def test_times_stand_in_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
