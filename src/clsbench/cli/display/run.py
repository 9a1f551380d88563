"""Display of a run's progress on stderr, as an observer of the lifecycle like any plugin's.

A live line on a terminal, log lines elsewhere.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from rich.live import Live
from rich.progress import Progress
from rich.text import Text

from clsbench.cli.display.downloads import DownloadBars, DownloadLines
from clsbench.cli.display.pace import TrainingProgress, prefix_progress, update_prefix
from clsbench.components.hookspecs import hookimpl
from clsbench.report.terminal.console import Console
from clsbench.schema.quantities import clock_text

if TYPE_CHECKING:
    from clsbench.assets import DownloadProgress
    from clsbench.components.values import RunPlan, StepReport
    from clsbench.schema.record import EpochEntry, RunRecord, StepEntry

logger = logging.getLogger(__name__)

_REFRESHES_PER_SECOND = 4
_SECONDS_BETWEEN_LINES = 10.0
_NARROW = 100


class Display(Protocol):
    """An observer of the lifecycle and of downloads that shows progress inside a block."""

    @property
    def downloads(self) -> DownloadProgress | None:
        """The observer of downloads."""
        ...

    def showing(self) -> AbstractContextManager[object]:
        """Show progress inside the block."""
        ...


def choose_display(show_plan: bool, quiet: bool) -> Display:
    """The display that suits stderr."""
    if quiet:
        return SilentDisplay()
    if sys.stderr.isatty():
        return LiveDisplay(show_plan)
    return PlainDisplay(show_plan)


class SilentDisplay:
    """Shows nothing."""

    downloads = None

    def showing(self) -> AbstractContextManager[object]:
        """Show nothing inside the block."""
        return nullcontext()


class PlainDisplay:
    """Log lines: the plan, each phase, each epoch, and an evaluation every ten seconds."""

    def __init__(self, show_plan: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._show_plan = show_plan
        self._clock = clock
        self.downloads = DownloadLines(clock)
        self._training: TrainingProgress | None = None
        self._prefix = prefix_progress(clock)
        self._last_line = float("-inf")

    def showing(self) -> AbstractContextManager[object]:
        """Log inside the block."""
        return nullcontext()

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Show the plan."""
        self._training = TrainingProgress(plan, self._clock)
        if self._show_plan:
            _print_plan(Console(stderr=True), plan)

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Show the phase."""
        logger.info("%s …", phase)
        _pause(self._training)

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Log the progress of the frozen prefix every ten seconds."""
        _pause(self._training)
        update_prefix(self._prefix, done, total)
        now = self._clock()
        if done == 0:
            self._last_line = now
        elif done < total and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = self._prefix.tasks[0].time_remaining
            more = "" if left is None else f", {clock_text(left)} left"
            logger.info("frozen prefix: %s of %s tokens%s", f"{done:,}", f"{total:,}", more)

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Count the batch."""
        if self._training is not None:
            self._training.step(report)

    @hookimpl
    def clsbench_evaluated(self, entry: StepEntry) -> None:
        """Show the losses."""
        _pause(self._training)
        now = self._clock()
        if self._training is not None and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            logger.info("%s", evaluation_line(entry, self._training))

    @hookimpl
    def clsbench_epoch_finished(self, entry: EpochEntry) -> None:
        """Show the accuracies."""
        _pause(self._training)
        self._last_line = self._clock()
        if self._training is not None:
            logger.info("%s", epoch_line(entry, self._training.plan.epochs))


class LiveDisplay:
    """A live line at the bottom of the terminal, and a permanent line for each epoch."""

    def __init__(self, show_plan: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._show_plan = show_plan
        self._clock = clock
        self._console = Console(stderr=True)
        self.downloads = DownloadBars(self._console)
        self._phase = "starting"
        self._phase_began = clock()
        self._training: TrainingProgress | None = None
        self._prefix = prefix_progress(clock)
        self._loss: float | None = None
        self._loss_read = float("-inf")
        self._validation_loss: float | None = None

    def showing(self) -> AbstractContextManager[object]:
        """Show the live line inside the block and remove it afterwards."""
        return Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Show the plan."""
        self._training = TrainingProgress(plan, self._clock)
        self._loss = self._validation_loss = None
        if self._show_plan:
            _print_plan(self._console, plan)

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Show the phase."""
        self._phase = phase
        self._phase_began = self._clock()
        _pause(self._training)

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Update the progress of the frozen prefix."""
        _pause(self._training)
        update_prefix(self._prefix, done, total)

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Count the batch."""
        if self._training is None:
            return
        self._training.step(report)
        now = self._clock()
        if now - self._loss_read >= 1 / _REFRESHES_PER_SECOND:  # reading it may wait for the GPU
            self._loss_read = now
            self._loss = report.loss()
            self._show_losses()

    @hookimpl
    def clsbench_evaluated(self, entry: StepEntry) -> None:
        """Show the losses."""
        _pause(self._training)
        self._validation_loss = entry.validation_loss
        self._show_losses()

    @hookimpl
    def clsbench_epoch_finished(self, entry: EpochEntry) -> None:
        """Show the accuracies."""
        _pause(self._training)
        if self._training is not None:
            line = epoch_line(entry, self._training.plan.epochs)
            self._console.print(line, highlight=False)

    @hookimpl
    def clsbench_run_finished(self, record: RunRecord) -> None:
        """Stop showing progress."""
        self._phase = ""
        self._training = None

    def _show_losses(self) -> None:
        losses = "" if self._loss is None else f"[dim]loss[/] {self._loss:.3f}"
        if self._validation_loss is not None:
            label = "validation" if self._console.width >= _NARROW else "val."
            losses += f"  [dim]{label}[/] {self._validation_loss:.3f}"
        if self._training is not None:
            self._training.show_losses(losses)

    def _render(self) -> Progress | Text:
        if not self._phase:
            return Text("")
        if self.downloads.bars.tasks:
            return self.downloads.bars
        if not self._prefix.finished:
            return self._prefix
        if self._phase == "training" and self._training is not None and self._training.steps.total:
            return self._training.bars
        elapsed = clock_text(self._clock() - self._phase_began)
        return Text.assemble((self._phase, "bold"), f" … {elapsed}")


def _print_plan(console: Console, plan: RunPlan) -> None:
    from clsbench.report.terminal.run import print_plan  # slow to import

    print_plan(console, plan)


def _pause(training: TrainingProgress | None) -> None:
    if training is not None:
        training.pause()


def evaluation_line(entry: StepEntry, training: TrainingProgress) -> str:
    """``epoch 2/5 step 150/650: …`` with losses, throughput and time left."""
    plan = training.plan
    more = "".join(f", {text}" for text in (training.rate_text(), training.left_text()) if text)
    return (
        f"epoch {entry.epoch}/{plan.epochs} step {entry.step}/{plan.steps}: loss "
        f"train {entry.train_loss:.3f} validation {entry.validation_loss:.3f}{more}"
    )


def epoch_line(entry: EpochEntry, epochs: int) -> str:
    """``epoch 2/5 done: …`` with the accuracies over a few batches."""
    return (
        f"epoch {entry.epoch}/{epochs} done: accuracy over a few batches "
        f"train {entry.train_accuracy:.1%} validation {entry.validation_accuracy:.1%} "
        f"({clock_text(entry.seconds)})"
    )
