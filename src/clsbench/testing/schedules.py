"""The contract of a schedule: a finite factor from 0 on for every step, always the same."""

from __future__ import annotations

import math

from clsbench.components.training_axes import Schedule
from clsbench.testing.promises import check_options, require

LENGTHS = (1, 2, 3, 7, 100, 1000)
"""Numbers of optimizer steps of the tried runs."""


def check_schedule(schedule: Schedule) -> None:
    """Check a schedule on runs of several lengths.

    The factor of every step is a finite number of at least 0, and the same when asked again in
    another order. Some step has a factor above 0, and none one above 1000. Its options survive the
    command line and TOML.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(schedule)
    for steps in LENGTHS:
        factors = [schedule.factor(step, steps) for step in range(steps)]
        for step, factor in enumerate(factors):
            call = f"factor({step}, {steps})"
            require(
                isinstance(factor, float | int) and math.isfinite(factor) and 0 <= factor <= 1000,
                schedule,
                f"{call} returns {factor!r}, expected a finite number from 0 to 1000",
            )
        require(max(factors) > 0, schedule, f"every factor of {steps} steps is 0")
        again = [schedule.factor(step, steps) for step in reversed(range(steps))]
        require(again[::-1] == factors, schedule, f"factor(…, {steps}) differs when called again")
