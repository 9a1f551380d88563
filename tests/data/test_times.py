"""Times in a column of a user's file."""

from __future__ import annotations

import pytest

from clsbench.data.times import NotATimeError, read_times


def test_read_times_numbers_are_used_as_such() -> None:
    assert read_times(["2024", "1999.5", "-3"]) == [2024.0, 1999.5, -3.0]


def test_read_times_dates_and_times_are_ordered() -> None:
    values = [
        "2025-11-21",
        "2025-11-21T10:17:29",
        "2025-11-21 10:17:30+00:00",
        "2025-11-21T12:17:31+01:00",
        "2025-11-22",
    ]
    times = read_times(values)
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert times[0] == 1763683200.0


@pytest.mark.parametrize("value", ["21.11.2025", "", "nan", "inf", "soon", "2025-13-01"])
def test_read_times_other_value_is_refused_with_its_place(value: str) -> None:
    with pytest.raises(NotATimeError) as caught:
        read_times(["2025-11-21", value])
    assert caught.value.place == 1
    with pytest.raises(NotATimeError):
        read_times(["1", value])
