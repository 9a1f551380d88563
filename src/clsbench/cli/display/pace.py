"""The progress of training and of the frozen prefix; rich estimates the remaining times."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from clsbench.components.values import RunPlan, StepReport
from clsbench.report.wording import rate
from clsbench.schema.quantities import clock_text

WINDOW_SECONDS = 60.0
"""Estimates are averages over this time."""


def bar() -> BarColumn:
    """A bar that takes the space that the other columns leave."""
    return BarColumn(bar_width=None, table_column=Column(max_width=40))


class TrainingProgress:
    """The progress of training. Evaluations count for the remaining time, not for the throughput.

    The estimates leave out the first steps and the first evaluation. They start again at each
    epoch in which another number of parameters trains, and are valid until the next such epoch.
    """

    def __init__(self, plan: RunPlan, clock: Callable[[], float]) -> None:
        self.plan = plan
        self._clock = clock
        self._last_event = clock()
        self._outside_seconds = 0.0
        """Time between training batches."""
        self.bars = Progress(
            TextColumn("[dim]epoch[/] {task.fields[epoch]}"),
            bar(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]} {task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("[progress.remaining]left{task.fields[until]}"),
            get_time=clock,
            speed_estimate_period=WINDOW_SECONDS,
        )
        self._steps = self.bars.add_task("", total=None, epoch="", losses="", rate="", until="")
        self._throughput = Progress(
            get_time=lambda: clock() - self._outside_seconds,
            speed_estimate_period=WINDOW_SECONDS,
        )
        self._texts = self._throughput.add_task("", total=None)

    @property
    def steps(self) -> Task:
        """The training batches up to the epoch for which the estimates are valid."""
        return self.bars.tasks[0]

    def step(self, report: StepReport) -> None:
        """Record the end of a batch."""
        epoch, epochs = report.epoch + 1, self.plan.epochs
        last = self._last_alike(report.epoch)
        until = "" if last == epochs else f" {'in' if last == epoch else 'to'} epoch {last}"
        total = self.plan.steps // epochs * last
        if report.step == 1 or total != self.steps.total:
            self.bars.reset(self._steps, total=total)
            self._throughput.reset(self._texts)
        self._throughput.advance(self._texts, report.examples)
        self.bars.update(
            self._steps,
            completed=report.step + 1,
            epoch=f"{epoch}/{epochs}",
            rate=self.rate_text(),
            until=until,
        )
        self._last_event = self._clock()

    def pause(self) -> None:
        """Record the end of something other than a training batch."""
        now = self._clock()
        self._outside_seconds += now - self._last_event
        self._last_event = now

    def show_losses(self, losses: str) -> None:
        """Set the losses that the bar shows."""
        self.bars.update(self._steps, losses=losses)

    def rate_text(self) -> str:
        """``7.5 texts/s``; empty during the first steps."""
        speed = self._throughput.tasks[0].speed
        return "" if speed is None else f"{rate(speed)} texts/s"

    def left_text(self) -> str:
        """``2:41 left``, or ``0:35 left in epoch 2`` if the estimate is valid only until then."""
        left = self.steps.time_remaining
        return "" if left is None else f"{clock_text(left)} left{self.steps.fields['until']}"

    def _last_alike(self, epoch: int) -> int:
        """The number of the last epoch in which as many parameters train as in ``epoch``."""
        counts = self.plan.trainable_by_epoch
        later = range(epoch + 1, min(len(counts), self.plan.epochs))
        return next((e for e in later if counts[e] != counts[epoch]), self.plan.epochs)


def prefix_progress(clock: Callable[[], float]) -> Progress:
    """The progress of the frozen prefix, without a task before it starts."""
    return Progress(
        TextColumn("[bold]frozen prefix"),
        bar(),
        TextColumn("{task.completed:,}/{task.total:,} tokens"),
        TimeRemainingColumn(compact=True),
        TextColumn("[progress.remaining]left"),
        get_time=clock,
        speed_estimate_period=WINDOW_SECONDS,
    )


def update_prefix(prefix: Progress, done: int, total: int) -> None:
    """Record that ``done`` of ``total`` token positions are computed."""
    if done == 0:
        for task in prefix.task_ids:
            prefix.remove_task(task)
        prefix.add_task("", total=total)
    prefix.update(prefix.task_ids[0], completed=done)
