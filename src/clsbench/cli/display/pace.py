"""Throughput and remaining time of training, from the lifecycle hooks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from clsbench.components.values import RunPlan, StepReport

WINDOW_STEPS = 100
"""The number of steps over which throughput and remaining time are averaged."""

FEWEST_STEPS = 5
"""The minimum number of steps for an estimate of the remaining time."""


class Pace:
    """Counts steps and examples. Evaluations count for the remaining time, not for throughput.

    The first step (warm-up) and the first evaluation, right after it, are left out.
    """

    def __init__(self, plan: RunPlan, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.steps_done = 0
        self._epoch = 0
        self._clock = clock
        self._warm = False
        self._last_event = clock()
        self._ends: deque[float] = deque(maxlen=WINDOW_STEPS + 1)
        self._work: deque[tuple[float, int]] = deque(maxlen=WINDOW_STEPS)

    def step(self, report: StepReport) -> None:
        """Record the end of a batch."""
        now = self._clock()
        self.steps_done = report.step + 1
        if report.epoch != self._epoch and not self._alike(self._epoch, report.epoch):
            self._ends.clear()  # the work per step changes here
            self._work.clear()
        self._epoch = report.epoch
        if self._warm:
            if not self._ends:
                self._ends.append(self._last_event)
            self._work.append((now - self._last_event, report.examples))
            self._ends.append(now)
        self._warm = True
        self._last_event = now

    def pause(self) -> None:
        """Record the end of something other than a training batch."""
        self._last_event = self._clock()

    def examples_per_second(self) -> float | None:
        """Throughput over the last steps; ``None`` before the second step."""
        seconds = sum(work[0] for work in self._work)
        return sum(work[1] for work in self._work) / seconds if seconds > 0 else None

    def foreseen_epochs(self) -> int:
        """The epochs for which the pace is valid: up to the next change in the number of trainable
        parameters, since the time of a step is unknown from there."""
        later = range(self._epoch + 1, self.plan.epochs)
        return next((e for e in later if not self._alike(self._epoch, e)), self.plan.epochs)

    def _alike(self, one: int, other: int) -> bool:
        counts = self.plan.trainable_by_epoch
        return max(one, other) >= len(counts) or counts[one] == counts[other]

    def left_text(self) -> str:
        """``2:41 left``, or ``0:35 left in epoch 2`` if the pace is valid only until then."""
        seconds = self.seconds_left()
        if seconds is None:
            return ""
        until = self.foreseen_epochs()
        if until == self.plan.epochs:
            return f"{duration(seconds)} left"
        return (
            f"{duration(seconds)} left {'in' if until == self._epoch + 1 else 'to'} epoch {until}"
        )

    def seconds_left(self) -> float | None:
        """Time until the last step of the :meth:`foreseen_epochs`, at the pace of the last steps;
        ``None`` during the first few steps."""
        steps_left = self.plan.steps // self.plan.epochs * self.foreseen_epochs() - self.steps_done
        if steps_left <= 0:
            return 0.0
        if len(self._work) < FEWEST_STEPS:
            return None
        return (self._ends[-1] - self._ends[0]) / len(self._work) * steps_left


class PrefixPace:
    """Progress of the frozen prefix; all token positions take about the same time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = self.total = 0
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last_seconds = 0.0

    def progress(self, done: int, total: int) -> None:
        """Record that ``done`` of ``total`` token positions are computed."""
        self._last_seconds = self._clock()
        if done == 0 or done < self.done or self._first is None:
            self._first = None if done == total else (self._last_seconds, done)
        self.done, self.total = done, total

    def seconds_left(self) -> float | None:
        """Remaining time at the pace so far; ``None`` before the first batch."""
        if self._first is None or self.done <= self._first[1]:
            return None
        began, before = self._first
        pace = (self._last_seconds - began) / (self.done - before)
        return max(pace * (self.total - self.done) - (self._clock() - self._last_seconds), 0.0)


def duration(seconds: float) -> str:
    """Seconds as ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
