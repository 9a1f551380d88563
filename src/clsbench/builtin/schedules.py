"""Schedules of the learning rate, as factors by optimizer step."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

import clsbench

Warmup = Annotated[
    float, Meta(ge=0, lt=1, description="share of the steps in which the rate rises from 0")
]


class Constant(clsbench.Schedule, frozen=True):
    """The same learning rate in every step, after a linear warm-up if there is one."""

    warmup: Warmup = 0.0

    def factor(self, step: int, steps: int) -> float:
        """1 after the warm-up."""
        return min(_rise(step, self.warmup * steps), 1.0)


class Linear(clsbench.Schedule, frozen=True):
    """Decay in a straight line to 0 after the last step, after a linear warm-up."""

    warmup: Warmup = 0.0

    def factor(self, step: int, steps: int) -> float:
        """The lower of warm-up and decay."""
        return min(_rise(step, self.warmup * steps), 1 - _progress(step, steps, self.warmup))


class Cosine(clsbench.Schedule, frozen=True):
    """Decay along half a cosine to 0 after the last step, after a linear warm-up.

    Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017,
    without restarts.
    """

    warmup: Warmup = 0.0

    def factor(self, step: int, steps: int) -> float:
        """The lower of warm-up and decay."""
        decay = (1 + math.cos(math.pi * _progress(step, steps, self.warmup))) / 2
        return min(_rise(step, self.warmup * steps), decay)


class SlantedTriangular(clsbench.Schedule, frozen=True):
    """A short linear rise of the learning rate, then a long linear descent.

    Both have their lowest factor, 1 divided by ``ratio``, at the ends of training.

    Source: Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification*, 2018,
    equation 3; its ``cut_frac`` is ``warmup``. The descent ends with the run for any length.
    """

    warmup: Warmup = 0.1
    ratio: Annotated[float, Meta(ge=1, description="highest rate divided by the lowest")] = 32.0

    def factor(self, step: int, steps: int) -> float:
        """The paper's slanted triangle."""
        cut = math.floor(steps * self.warmup)
        share = step / cut if step < cut else 1 - (step - cut) / (steps - cut)
        return (1 + share * (self.ratio - 1)) / self.ratio


def _rise(step: int, warmup_steps: float) -> float:
    """The factor in the warm-up: its first step is already above 0; 1 or more after it."""
    return (step + 1) / (warmup_steps + 1)


def _progress(step: int, steps: int, warmup: float) -> float:
    """The share of the steps after the warm-up that lies before ``step``; 0 in the warm-up."""
    return max(step - warmup * steps, 0.0) / (steps - warmup * steps)


@clsbench.hookimpl
def clsbench_register_schedules() -> dict[str, type[clsbench.Schedule]]:
    """The built-in schedules."""
    return {
        "constant": Constant,
        "linear": Linear,
        "cosine": Cosine,
        "slanted-triangular": SlantedTriangular,
    }
