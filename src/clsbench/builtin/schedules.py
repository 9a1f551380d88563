"""Schedules of the learning rate, as factors by optimizer step."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

import clsbench

Warmup = Annotated[
    float, Meta(ge=0, lt=1, description="share of the steps in which the rate rises from 0")
]


class Constant(clsbench.Schedule, frozen=True):
    """The learning rate of ``train.lr`` in every step, after a linear warm-up if there is one."""

    warmup: Warmup = 0.0

    def factor(self, step: int, steps: int) -> float:
        """1 after the warm-up."""
        return min(_rise(step, self.warmup * steps), 1.0)


def _rise(step: int, warmup_steps: float) -> float:
    """The factor in the warm-up: its first step is already above 0; 1 or more after it."""
    return (step + 1) / (warmup_steps + 1)


@clsbench.hookimpl
def clsbench_register_schedules() -> dict[str, type[clsbench.Schedule]]:
    """The built-in schedules."""
    return {"constant": Constant}
