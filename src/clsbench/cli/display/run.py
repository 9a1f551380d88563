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

from clsbench.cli.display.downloads import TransferLines, Transfers, render_transfers
from clsbench.cli.display.pace import Pace, PrefixPace, duration
from clsbench.components.hookspecs import hookimpl

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clsbench.assets import DownloadProgress
    from clsbench.components.values import RunPlan, StepReport
    from clsbench.report.terminal.console import Console
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
        self.downloads = TransferLines(clock)
        self._pace: Pace | None = None
        self._prefix = PrefixPace(clock)
        self._last_line = float("-inf")

    def showing(self) -> AbstractContextManager[object]:
        """Log inside the block."""
        return nullcontext()

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Show the plan."""
        self._pace = Pace(plan, self._clock)
        if self._show_plan:
            _print_plan(_stderr_console(), plan)

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Show the phase."""
        logger.info("%s …", phase)
        if self._pace is not None:
            self._pace.pause()

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Log the progress of the frozen prefix every ten seconds."""
        self._prefix.progress(done, total)
        if self._pace is not None:
            self._pace.pause()
        now = self._clock()
        if done == 0:
            self._last_line = now
        elif done < total and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            logger.info("%s", prefix_line(self._prefix))

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Count the batch."""
        if self._pace is not None:
            self._pace.step(report)

    @hookimpl
    def clsbench_evaluated(self, entry: StepEntry) -> None:
        """Show the losses."""
        if self._pace is None:
            return
        self._pace.pause()
        now = self._clock()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        logger.info("%s", evaluation_line(entry, self._pace))

    @hookimpl
    def clsbench_epoch_finished(self, entry: EpochEntry) -> None:
        """Show the accuracies."""
        if self._pace is None:
            return
        self._pace.pause()
        self._last_line = self._clock()
        logger.info("%s", epoch_line(entry, self._pace.plan.epochs))


class LiveDisplay:
    """A live line at the bottom of the terminal, and a permanent line for each epoch."""

    def __init__(self, show_plan: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._show_plan = show_plan
        self._clock = clock
        self.downloads = Transfers()
        self._console = _stderr_console()
        self._phase = "starting"
        self._phase_began = clock()
        self._pace: Pace | None = None
        self._prefix = PrefixPace(clock)
        self._epoch = 0
        self._loss: float | None = None
        self._loss_read = float("-inf")
        self._evaluation: StepEntry | None = None

    def showing(self) -> AbstractContextManager[object]:
        """Show the live line inside the block and remove it afterwards."""
        from rich.live import Live

        return Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Show the plan."""
        self._pace = Pace(plan, self._clock)
        self._loss = self._evaluation = None
        self._epoch = 0
        if self._show_plan:
            _print_plan(self._console, plan)

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Show the phase."""
        self._phase = phase
        self._phase_began = self._clock()
        if self._pace is not None:
            self._pace.pause()

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Update the progress of the frozen prefix."""
        self._prefix.progress(done, total)
        if self._pace is not None:
            self._pace.pause()

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Count the batch."""
        if self._pace is None:
            return
        self._pace.step(report)
        self._epoch = report.epoch + 1
        now = self._clock()
        if now - self._loss_read >= 1 / _REFRESHES_PER_SECOND:  # reading it may wait for the GPU
            self._loss_read = now
            self._loss = report.loss()

    @hookimpl
    def clsbench_evaluated(self, entry: StepEntry) -> None:
        """Show the losses."""
        self._evaluation = entry
        if self._pace is not None:
            self._pace.pause()

    @hookimpl
    def clsbench_epoch_finished(self, entry: EpochEntry) -> None:
        """Show the accuracies."""
        if self._pace is None:
            return
        self._pace.pause()
        self._console.print(epoch_line(entry, self._pace.plan.epochs), highlight=False)

    @hookimpl
    def clsbench_run_finished(self, record: RunRecord) -> None:
        """Stop showing a pace."""
        self._phase = ""
        self._pace = None

    def _render(self) -> RenderableType:
        from rich.text import Text

        if not self._phase:
            return Text("")
        going = self.downloads.going()
        if going:
            return render_transfers(going, self._console.width)
        if self._prefix.done < self._prefix.total:
            return self._prefix_line()
        if self._phase == "training" and self._pace is not None and self._pace.steps_done:
            return self._training_line(self._pace)
        elapsed = duration(self._clock() - self._phase_began)
        return Text.assemble((self._phase, "bold"), f" … {elapsed}")

    def _prefix_line(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        left = self._prefix.seconds_left()
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text("frozen prefix", "bold"),
            ProgressBar(
                total=self._prefix.total,
                completed=self._prefix.done,
                width=min(40, max(5, self._console.width - 64)),
            ),
            Text(f"{self._prefix.done:,}/{self._prefix.total:,} tokens"),
            Text(f"{duration(left)} left" if left is not None else "", "cyan"),
        )
        return line

    def _training_line(self, pace: Pace) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        parts: list[tuple[str, str] | str] = [("loss ", "dim"), _loss_text(self._loss)]
        if self._evaluation is not None:
            validation = "validation" if self._console.width >= _NARROW else "val."
            parts += [
                (f"  {validation} ", "dim"),
                _loss_text(self._evaluation.validation_loss),
            ]
        rate, left = pace.examples_per_second(), pace.left_text()
        wide = self._console.width >= _NARROW or "epoch" not in left
        if rate is not None and wide:
            parts.append((f"  {rate:.3g} texts/s" if rate < 100 else f"  {rate:.0f} texts/s", ""))
        if left:
            parts.append((f"  {left}", "cyan"))
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text.assemble(("epoch ", "dim"), f"{self._epoch}/{pace.plan.epochs}"),
            ProgressBar(
                total=pace.plan.steps,
                completed=pace.steps_done,
                width=min(40, max(5, self._console.width - 74)),
            ),
            Text(f"{pace.steps_done}/{pace.plan.steps}"),
            Text.assemble(*parts),
        )
        return line


def prefix_line(pace: PrefixPace) -> str:
    """``frozen prefix: 12,288 of 166,560 tokens, 2:41 left``."""
    left = pace.seconds_left()
    more = f", {duration(left)} left" if left is not None else ""
    return f"frozen prefix: {pace.done:,} of {pace.total:,} tokens{more}"


def evaluation_line(entry: StepEntry, pace: Pace) -> str:
    """``epoch 2/5 step 150/650: …`` with losses, throughput and time left."""
    rate, left = pace.examples_per_second(), pace.left_text()
    more = f", {rate:.3g} texts/s" if rate is not None else ""
    more += f", {left}" if left else ""
    return (
        f"epoch {entry.epoch}/{pace.plan.epochs} step {entry.step}/{pace.plan.steps}: loss "
        f"train {entry.train_loss:.3f} validation {entry.validation_loss:.3f}{more}"
    )


def epoch_line(entry: EpochEntry, epochs: int) -> str:
    """``epoch 2/5 done: …`` with the accuracies over a few batches."""
    return (
        f"epoch {entry.epoch}/{epochs} done: accuracy over a few batches "
        f"train {entry.train_accuracy:.1%} validation {entry.validation_accuracy:.1%} "
        f"({duration(entry.seconds)})"
    )


def _loss_text(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.3f}"


def _print_plan(console: Console, plan: RunPlan) -> None:
    from clsbench.report.terminal.run import print_plan

    print_plan(console, plan)


def _stderr_console() -> Console:
    from clsbench.report.terminal.console import Console

    return Console(stderr=True)
