"""Display of a suite's progress on stderr: a live table on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from clsbench.schema.changes import changes_text
from clsbench.schema.quantities import clock_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clsbench.schema.job import JobProgress, Message
    from clsbench.schema.suite import SuiteRow
    from clsbench.suites.planned import PlannedRow, SuitePlan
    from clsbench.suites.run_locks import RunState

logger = logging.getLogger(__name__)

_REFRESHES_PER_SECOND = 4
_SECONDS_BETWEEN_LINES = 30.0
_LINES_OF_THE_FRAME = 6
"""Lines of the terminal that are not available to the rows of the table."""
_FEWEST_ROWS = 4
_LOADING_SECONDS = 5.0
"""Approximate overhead of the process of a run."""


def choose_suite_display(quiet: bool) -> SuiteDisplay:
    """The display that suits stderr."""
    if quiet:
        return SuiteDisplay()
    return LiveSuite() if sys.stderr.isatty() else SuiteLines()


class SuiteDisplay:
    """Records the progress of a suite without showing it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.plan: SuitePlan | None = None
        self.states: dict[str, RunState] = {}
        self.progress: dict[str, JobProgress] = {}
        self.began: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def showing(self) -> AbstractContextManager[object]:
        """Show progress inside the block."""
        return nullcontext()

    def planning(self, row: SuiteRow) -> None:
        """Planning of the row starts."""

    def planned(self, plan: SuitePlan) -> None:
        """Planning is complete, or a tuned row has further runs."""
        self.plan = plan

    def changed(self, key: str, state: RunState) -> None:
        """A run has started or ended."""
        if state.status == "running":
            self.began[key] = self._clock()
        elif key in self.began:
            self.seconds[key] = self._clock() - self.began[key]
        self.states[key] = state  # last: another thread shows it

    def received(self, key: str, message: Message) -> None:
        """Record the progress of a run, or log a warning that its plan did not contain."""
        from clsbench.schema.job import JobProgress

        if isinstance(message, JobProgress):
            self.progress[key] = message
        elif self.plan is None or message.text not in self.plan.warnings():
            logger.warning("%s: %s", self.title(key), message.text)

    def title(self, key: str) -> str:
        """The rows of a run, its trial, and its seed if they have several."""
        rows = self.rows_of(key)
        title = "row " + ", ".join(row.row.label for row in rows)
        for number, trial in enumerate(rows[0].trials, 1):
            if trial.runs[0].key == key:
                return f"{title}, trial {number} ({changes_text(trial.point)})"
        if len(rows[0].runs) > 1:
            seed = next(run.spec["seed"] for run in rows[0].runs if run.key == key)
            title += f", seed {seed}"
        return title

    def rows_of(self, key: str) -> list[PlannedRow]:
        """The rows that a run belongs to."""
        assert self.plan is not None
        return [row for row in self.plan.rows if any(run.key == key for run in row.all_runs())]

    def ended(self) -> int:
        """The number of runs that have ended."""
        return sum(map(self._is_done_with, list(self.states)))

    def _is_done_with(self, key: str) -> bool:
        from clsbench.suites.run_locks import UNDER_WAY

        return key in self.states and self.states[key].status not in UNDER_WAY

    def seconds_left(self) -> float | None:
        """Estimated time until the last run ends, corrected by the error of earlier estimates."""
        assert self.plan is not None
        expected = {
            key: estimate.seconds + _LOADING_SECONDS
            for row in self.plan.rows
            for key, estimate in row.estimates().items()
            if estimate is not None
        }
        if any(key not in expected and not self._is_done_with(key) for key in self.plan.runs()):
            return None
        known = [
            key
            for key in list(self.seconds)
            if key in expected and self.states[key].status == "finished"
        ]
        # Finished runs show the error of the estimates.
        factor = 1.0
        if known:
            factor = sum(self.seconds[key] for key in known) / sum(expected[key] for key in known)
        left = 0.0
        for key, seconds in expected.items():
            state = self.states.get(key)
            if state is None or state.status == "elsewhere":
                left += factor * seconds
            elif state.status == "running":
                left += max(factor * seconds - (self._clock() - self.began[key]), 0.0)
        at_once = max(sum(s.status == "running" for s in list(self.states.values())), 1)
        return left / at_once


class SuiteLines(SuiteDisplay):
    """Log lines: the start and end of each run, and its progress every half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._last_line = clock()

    def planning(self, row: SuiteRow) -> None:
        """Log the row."""
        logger.info("planning row %s (%s) …", row.label, row.title)

    def changed(self, key: str, state: RunState) -> None:
        """Log the new state of the run."""
        super().changed(key, state)
        assert self.plan is not None
        count = f"{self.ended()} of {self.plan.runs_expected()} runs"
        words = {
            "running": "begins",
            "elsewhere": "is running in another invocation; waiting for it",
            "stored": "has already finished",
            "finished": f"finished in {clock_text(self.seconds.get(key, 0.0))}",
            "failed": f"FAILED: {state.error}",
            "interrupted": "interrupted",
        }
        left = self.seconds_left()
        more = f", about {clock_text(left)} left" if left and state.status == "finished" else ""
        logger.info("%s %s (%s%s)", self.title(key), words[state.status], count, more)
        self._last_line = self._clock()

    def received(self, key: str, message: Message) -> None:
        """Log the progress every half minute."""
        super().received(key, message)
        now = self._clock()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES and key in self.progress:
            self._last_line = now
            logger.info("%s: %s", self.title(key), progress_text(self.progress[key]))


class LiveSuite(SuiteDisplay):
    """A live table of the rows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._planning = ""

    def showing(self) -> AbstractContextManager[object]:
        """Show the table inside the block and remove it afterwards."""
        from rich.live import Live

        from clsbench.report.terminal.console import Console

        return Live(
            get_renderable=self._render,
            console=Console(stderr=True),
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def planning(self, row: SuiteRow) -> None:
        """Show the row."""
        self._planning = f"planning row {row.label} ({row.title}) …"

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from clsbench.report.terminal.layout import empty_table
        from clsbench.report.wording import plain

        if self.plan is None:
            return plain(self._planning, "dim")
        table = empty_table()
        for heading in ("row", "", "state", "time"):
            table.add_column(heading)
        for key in self._shown():
            table.add_row(*self._cells(key))
        runs = self.plan.runs_expected()
        left = self.seconds_left()
        more = (
            f", about {clock_text(left)} left" if left is not None and self.ended() < runs else ""
        )
        return Group(table, Text(f"{self.ended()} of {runs} runs done{more}", "bold"))

    def _shown(self) -> list[str]:
        """All runs if they fit, else those around the running ones."""
        assert self.plan is not None
        keys = list(self.plan.runs())
        going = [i for i, key in enumerate(keys) if key not in self.states]
        most = max(shutil.get_terminal_size().lines - _LINES_OF_THE_FRAME, _FEWEST_ROWS)
        first = max((going[0] if going else len(keys)) - most // 2, 0)
        first = min(first, max(len(keys) - most, 0))
        return keys[first : first + most]

    def _cells(self, key: str) -> tuple[RenderableType, ...]:
        from rich.text import Text

        from clsbench.report.wording import plain

        assert self.plan is not None
        row = self.rows_of(key)[0]
        state = self.states.get(key)
        title = plain(row.row.title)
        if state is None:
            return plain(self.title(key), "dim"), title, Text("waiting", "dim"), ""
        if state.status == "running":
            progress = self.progress.get(key)
            shown = progress_text(progress) if progress is not None else "starting"
            elapsed = clock_text(self._clock() - self.began[key])
            return plain(self.title(key), "bold"), title, Text(shown, "cyan"), elapsed
        styles = {"finished": "green", "stored": "green", "failed": "bold red"}
        words = {"stored": "in the store", "elsewhere": "runs in another invocation"}
        shown = words.get(state.status, state.status)
        seconds = clock_text(self.seconds[key]) if key in self.seconds else ""
        return (
            plain(self.title(key)),
            title,
            Text(shown, styles.get(state.status, "yellow")),
            seconds,
        )


def progress_text(progress: JobProgress) -> str:
    """``training 150/650``."""
    if not progress.total:
        return progress.phase
    return f"{progress.phase} {100 * progress.done / progress.total:.0f} %"
