"""Durations and sizes as text, and sizes read from text."""

from __future__ import annotations

import re

SIZE_PATTERN = r"(?ai)^(0{1,18}|[0-9]{1,18}(\.[0-9]{1,18})? ?([kmgt]i?b?|b))\Z"
"""A size in bytes: ``200MB``, ``1.5 gib``, ``0``. A number other than 0 requires a unit."""

_UNITS = ("", "k", "M", "G", "T")


def size_bytes(text: str) -> int:
    """The bytes of a size that matches :data:`SIZE_PATTERN`; ``MB`` is 10⁶, ``MiB`` 2²⁰ bytes."""
    number, unit = re.fullmatch(r"([\d.]+) ?(.*?)b?", text.lower()).groups()  # type: ignore[union-attr]
    base = 1024 if unit.endswith("i") else 1000
    power = [known.lower() for known in _UNITS].index(unit.removesuffix("i"))
    return int(float(number) * base**power)


def size_text(size: float) -> str:
    """A number of bytes to three digits, in powers of 1000: ``512 B``, ``71.9 MB``, ``1.23 GB``."""
    power = next((p for p in range(len(_UNITS)) if size < 999.5 * 1000**p), len(_UNITS) - 1)
    number = size / 1000**power
    return f"{f'{number:.3g}' if number < 999.5 else f'{number:,.0f}'} {_UNITS[power]}B"


def duration_text(seconds: float) -> str:
    """A duration to three digits: ``417 µs``, ``2.86 ms``, ``0.42 s``, ``12.3 s``.

    From 100 seconds on in two units: ``2 min``, ``3 min 14 s``, ``1 h 02 min``.
    """
    if seconds >= 99.95:
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    if seconds >= 0.1 or seconds == 0:
        return f"{seconds:.3g} s"
    units = (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, size = next((each for each in units if seconds >= 0.9995 * each[1]), units[-1])
    return f"{seconds / size:.3g} {unit}"


def clock_text(seconds: float) -> str:
    """A running time as a clock shows it: ``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
