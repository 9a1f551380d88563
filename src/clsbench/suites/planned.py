"""A suite that is planned but not run: its rows, their trials and their runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from clsbench.schema.record import Estimate, RunRecord
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.proposals import Tuning


class PlannedRun(NamedTuple):
    """A run of a row: the experiment before any substitution, and the record that it would have."""

    spec: dict[str, Any]
    record: RunRecord

    @property
    def key(self) -> str:
        """The run key."""
        return self.record.run_key


class PlannedTrial(NamedTuple):
    """A point that a row tries, and its runs, one per seed: the first is the trial, the others are
    made if it is chosen."""

    point: dict[str, Any]
    runs: tuple[PlannedRun, ...]
    estimate: Estimate | None = None


class PlannedRow(NamedTuple):
    """A row and its runs, one per seed, planned but not run.

    ``problem`` is the reason why the row cannot be run, ``invalid`` whether the row itself is
    wrong, ``not_applicable`` the reason why it does not apply; ``runs`` is then empty. ``changes``
    are its differences from the base, including the user's changes. ``modified``: these or a
    stand-in make it a different experiment, so the published figures do not apply.

    A tuned row has ``trials``, those known so far; its ``runs`` are those of the trial that is
    ``chosen`` when all have ended.
    """

    row: SuiteRow
    changes: dict[str, Any]
    runs: tuple[PlannedRun, ...] = ()
    modified: bool = False
    problem: str | None = None
    invalid: bool = False
    not_applicable: str | None = None
    estimate: Estimate | None = None
    trials: tuple[PlannedTrial, ...] = ()
    chosen: int | None = None

    def all_runs(self) -> tuple[PlannedRun, ...]:
        """The runs of its trials and its own; the chosen trial is in both."""
        return (*(trial.runs[0] for trial in self.trials), *self.runs)

    def estimates(self) -> dict[str, Estimate | None]:
        """The estimates of its runs by key."""
        of_trials = {trial.runs[0].key: trial.estimate for trial in self.trials}
        return {**{run.key: self.estimate for run in self.runs}, **of_trials}

    def choose(self, place: int) -> PlannedRow:
        """The row with the runs of the trial at ``place``."""
        trial = self.trials[place]
        return self._replace(chosen=place, runs=trial.runs, estimate=trial.estimate)


class SuitePlan(NamedTuple):
    """The selected rows of a suite, planned.

    ``seeds`` are the requested seeds, or their number, counted up from each row's own. With
    ``tuning``, ``plan_trial`` plans a further trial of a row; it raises a :class:`ClsbenchError` if
    the trial cannot be run.
    """

    suite: SuiteSpec
    for_all: dict[str, Any]
    seeds: tuple[int, ...] | int
    rows: tuple[PlannedRow, ...]
    tuning: Tuning | None = None
    plan_trial: Callable[[SuiteRow, dict[str, Any]], PlannedTrial] | None = None

    def warnings(self) -> list[str]:
        """The warnings of all runs, such as about missing weights, without duplicates."""
        return list(dict.fromkeys(
            warning
            for row in self.rows
            for run in row.all_runs()
            for warning in run.record.warnings
        ))  # fmt: skip

    def runs(self) -> dict[str, PlannedRun]:
        """All distinct runs by key, in the order of the rows; of tuned rows, those known so far."""
        return {run.key: run for row in self.rows for run in row.all_runs()}

    def group(self, key: str) -> str:
        """The group of a run among the jobs: the tuned row whose trial it is, if it is one."""
        return next((row.row.label for row in self.rows
                     if any(trial.runs[0].key == key for trial in row.trials)), "")  # fmt: skip

    def missing_trials(self, row: PlannedRow) -> int:
        """The number of trials of a row that a tuner has not proposed yet."""
        return self.tuning.trials - len(row.trials) if self.tuning and row.trials else 0

    def missing_repeats(self, row: PlannedRow) -> int:
        """The number of runs that repeat the trial that is not chosen yet."""
        return len(row.trials[0].runs) - 1 if row.trials and row.chosen is None else 0

    def runs_expected(self) -> int:
        """The number of runs, including those of tuned rows that are not known yet."""
        unknown = (self.missing_trials(row) + self.missing_repeats(row) for row in self.rows)
        return len(self.runs()) + sum(unknown)
