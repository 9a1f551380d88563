"""Map values to positions in a drawing, and choose ticks."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import NamedTuple


class Tick(NamedTuple):
    """A mark on an axis: its position in the drawing, and its text."""

    at: float
    text: str


class Scale(NamedTuple):
    """Maps values from ``low`` to ``high`` to positions from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value, rounded to a tenth; values outside are clipped to the ends."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def steps(low: float, high: float, most: int) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


_TIME_UNITS = (
    *(10.0**power for power in range(-9, 2)),
    *(60.0, 600.0),
    *(3600 * 10.0**power for power in range(10)),
)
"""Powers of ten of seconds, minutes and hours, in seconds."""


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Round times on a logarithmic axis of seconds: 1 s, 2 s, 5 s … 1 min, 2 min … 1 h.

    If these are more than ``most``, only powers of ten of a unit are returned, or some of them.
    """
    for factors, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        found = [
            factor * unit
            for unit, following in pairwise(_TIME_UNITS[::every])
            for factor in factors
            if 1.5 * factor * unit < following
        ]
        inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(inside) <= most:
            break
    return inside


def spans_a_decade(values: list[float]) -> bool:
    """Whether all values are positive and the largest is over ten times the smallest."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 10


_STRETCH = 4.0


def readable_floor(values: list[float]) -> float:
    """The lower end of an axis on which the other values remain distinct; higher is better.

    Values that are several times further below the median than the best is above it are excluded.
    """
    best, middle = max(values), median(values)
    floor = middle - _STRETCH * max(best - middle, 0.02)
    return min(value for value in values if value >= floor)
