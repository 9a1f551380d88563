"""Tune the rows of a suite: what is to run next, and the trial that each row becomes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from clsbench.analysis.comparison import found_prefix
from clsbench.analysis.prediction_time import found_seconds
from clsbench.analysis.tuning import choose, validation_score
from clsbench.components.tuner import Trial
from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.store import StoredRun, finished_run, read_record
from clsbench.results.suite_results import RowTuning, TrialResult
from clsbench.suites.plan import check_trials
from clsbench.suites.planned import PlannedRow, PlannedTrial, SuitePlan
from clsbench.suites.proposals import Tuning
from clsbench.suites.run_locks import RunState

_NOT_ENDED = (None, "running", "elsewhere", "interrupted")


class TrialResults:
    """The results of trials, each record in the store read once."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, TrialResult] = {}

    def of(self, row: PlannedRow, tuning: Tuning, states: Mapping[str, RunState]) -> RowTuning:
        """The trials of a row so far."""
        return RowTuning(
            budget=tuning.trials,
            metric=tuning.metric,
            lower=tuning.lower,
            adaptive=tuning.tuner.adaptive,
            trials=tuple(self._trial(trial, tuning, states) for trial in row.trials),
            chosen=row.chosen,
        )

    def _trial(
        self, trial: PlannedTrial, tuning: Tuning, states: Mapping[str, RunState]
    ) -> TrialResult:
        state = states.get(trial.runs[0].key)
        if state is None or state.status in _NOT_ENDED:
            return TrialResult(point=trial.point)
        if state.status == "failed" or state.run is None:
            return TrialResult(point=trial.point, error=state.error or "it failed")
        if state.run not in self._known:
            self._known[state.run] = self._read(trial, tuning, state.run)
        return replace(self._known[state.run], point=trial.point)

    def _read(self, trial: PlannedTrial, tuning: Tuning, name: str) -> TrialResult:
        path = self._store / name
        try:
            record = read_record(path)
        except UsageError as error:
            return TrialResult(point=trial.point, error=str(error))
        metrics = record.metrics
        score = validation_score(StoredRun(path, record), tuning.metric, tuning.component)
        if score is None:
            problem = f"it has no {tuning.metric} on the validation texts"
            return TrialResult(point=trial.point, error=problem)
        return TrialResult(
            point=trial.point,
            run=name,
            score=score,
            validation_loss=metrics.validation.loss if metrics is not None else None,
            prefix_seconds=record.phases_seconds.get("prefix", 0.0),
            training_seconds=record.phases_seconds.get("training", 0.0),
            prefix_found=found_prefix(StoredRun(path, record)),
            prefix_found_seconds=found_seconds(record),
        )


def advance(
    plan: SuitePlan, states: Mapping[str, RunState], results: TrialResults
) -> SuitePlan | None:
    """The plan with further trials, and with the chosen trial of every row whose trials have all
    ended; ``None`` if nothing is left to add."""
    if plan.tuning is None:
        return None
    rows = tuple(_advance_row(row, plan, states, results) for row in plan.rows)
    return plan._replace(rows=rows) if rows != plan.rows else None


def _advance_row(
    row: PlannedRow, plan: SuitePlan, states: Mapping[str, RunState], results: TrialResults
) -> PlannedRow:
    tuning, plan_trial = plan.tuning, plan.plan_trial
    assert tuning is not None
    assert plan_trial is not None
    if not row.trials or row.chosen is not None or row.problem is not None:
        return row
    ended = results.of(row, tuning, states).trials
    if not all(trial.ended for trial in ended):
        return row
    try:
        sign = -1 if tuning.lower else 1
        points = tuning.next_points([
            Trial(trial.point, sign * trial.score if trial.score is not None else None)
            for trial in ended
        ])  # fmt: skip
        if points:
            more = (*row.trials, *(plan_trial(row.row, point) for point in points))
            check_trials(more)
            return row._replace(trials=more)
    except ClsbenchError as error:
        return row._replace(problem=str(error))
    chosen = choose(ended, tuning.lower)
    if chosen is None:
        return row._replace(problem=f"all {len(ended)} trials failed; the first: {ended[0].error}")
    return row.choose(chosen)


def with_stored(plan: SuitePlan, store: Path) -> tuple[SuitePlan, dict[str, RunState]]:
    """The plan with all that follows from the runs in the store, as far as they are there, and the
    states of these runs."""
    results, states = TrialResults(store), dict[str, RunState]()
    following: SuitePlan | None = plan
    while following is not None:
        plan = following
        states = {
            key: RunState("stored", run.path.name)
            for key in plan.runs()
            if (run := finished_run(store, key)) is not None
        }
        following = advance(plan, states, results)
    return plan, states
