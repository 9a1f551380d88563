"""Read the times of texts from a column: dates, dates with times, or numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime


def read_times(values: Sequence[str]) -> list[float]:
    """Numbers that are greater for later times.

    If every value is a number (a year, a timestamp), it is used as such. Otherwise each must be a
    date or a date with a time in ISO 8601; without a time zone it counts as UTC.

    Raises:
        NotATimeError: a value is neither.
    """
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(known) == len(values):
        return known
    return [_timestamp(value, place) for place, value in enumerate(values)]


class NotATimeError(ValueError):
    """The value at ``place`` is not a time."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _timestamp(value: str, place: int) -> float:
    try:
        time = datetime.fromisoformat(value.strip())
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise NotATimeError(place) from None
