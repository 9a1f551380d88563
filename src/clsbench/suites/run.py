"""Run a planned suite: take stored runs, let an executor perform the others, and collect results.

Rows are only labels. Runs are identified by their run keys.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch

from clsbench.components.outer_axes import Executor
from clsbench.experiment.run import draw
from clsbench.results.store import check_store_writable, read_record
from clsbench.results.suite_results import RowResult, SuiteResults, write_suite_results
from clsbench.schema.job import Job
from clsbench.schema.options import RunOptions, plain_options
from clsbench.suites.planned import PlannedRow, PlannedRun, SuitePlan
from clsbench.suites.run_locks import LOCKS, RunLocks, RunState, SuiteObserver
from clsbench.suites.tuning import TrialResults, advance, with_stored

_SECONDS_BETWEEN_LOOKS = 1.0


def run_suite(
    plan: SuitePlan,
    executor: Executor,
    options: RunOptions,
    at_once: int | None,
    observer: SuiteObserver,
    command: Sequence[str] = (),
    force: bool = False,
) -> SuiteResults:
    """Perform every run once, even if several rows share it, and return the results.

    Finished runs are taken from the store. With ``force``, they are repeated; until a repetition
    has finished, the results show the stored run, or of a tuned row the stored choice until all
    trials are repeated. Runs of other invocations are waited for. A
    failed run does not stop the others. The suite's file in the store, which includes ``command``,
    is updated after every run.

    A tuned row runs its trials first; when all have ended, the one that is chosen by its validation
    score is the row, and is repeated with the other seeds.

    Raises:
        UsageError: the store cannot be written.
        KeyboardInterrupt: after all running jobs have stored their partial results.
    """
    store = options.out.absolute()
    check_store_writable(store)
    (store / LOCKS).mkdir(parents=True, exist_ok=True)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    trials = TrialResults(store)
    all_rows = {row.label: plan.suite.changes_of(row, plan.for_all) for row in plan.suite.rows}
    where = {name: getattr(options, name) for name in ("device", "precision", "offline")}
    earlier = _stored_choices(plan, store, trials) if force and plan.tuning else {}

    def results(states: Mapping[str, RunState]) -> SuiteResults:
        rows, tried = [], []
        for row in plan.rows:
            found = _row_result(row, plan, states, locks.before, trials)
            if not found.runs and not found.errors and row.row.label in earlier:
                found, repeated = earlier[row.row.label], found.tuning
                tried += [trial.run for trial in repeated.trials if trial.run] if repeated else []
            rows.append(found)
        return _results(plan, tuple(rows), tuple(tried), where, command, created)

    def keep(states: Mapping[str, RunState]) -> None:
        replacements = {
            before: states[key].run
            for key, before in locks.before.items()
            if key in states and states[key].status == "finished"
        }
        write_suite_results(store, results(states), all_rows, replacements)

    locks = RunLocks(store, observer, force, keep)
    following: SuitePlan | None = plan
    try:
        while following is not None:
            plan = following
            observer.planned(plan)
            new = [_job(run, options, at_once, plan.group(key))
                   for key, run in plan.runs().items() if key not in locks.states]  # fmt: skip
            pending = locks.without_stored(new)
            keep(locks.states)
            while pending:
                executor.execute(pending, at_once, locks)
                pending = locks.busy_elsewhere()
                if pending:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            following = advance(plan, locks.states, trials)
            if options.curves:
                _draw_chosen(following, locks.states, store)
    finally:
        locks.close()
    return results(locks.states)


def _draw_chosen(plan: SuitePlan | None, states: Mapping[str, RunState], store: Path) -> None:
    """Draw the curves of chosen trials; those of the others are not drawn."""
    for row in plan.rows if plan is not None else ():
        state = states.get(row.runs[0].key) if row.chosen is not None else None
        if state is not None and state.run and not (store / state.run / "accuracy.svg").exists():
            draw(read_record(store / state.run), store / state.run)


def _stored_choices(plan: SuitePlan, store: Path, trials: TrialResults) -> dict[str, RowResult]:
    """The results by label of the tuned rows whose trials have all been stored before."""
    stored, states = with_stored(plan, store)
    rows = [row for row in stored.rows if row.chosen is not None]
    return {row.row.label: _row_result(row, stored, states, {}, trials) for row in rows}


def _results(
    plan: SuitePlan,
    rows: tuple[RowResult, ...],
    tried: tuple[str, ...],
    where: Mapping[str, Any],
    command: Sequence[str],
    created: str,
) -> SuiteResults:
    suite = plan.suite
    return SuiteResults(
        name=suite.name,
        description=suite.description,
        base=suite.base,
        for_all=plan.for_all,
        seeds=plan.seeds,
        where=dict(where),
        labels=tuple(row.label for row in suite.rows),
        source=suite.source,
        conditions=suite.conditions,
        command=tuple(command),
        created=created,
        tune=suite.tune,
        rows=rows,
        tried=tried,
    )


def _row_result(
    row: PlannedRow,
    plan: SuitePlan,
    states: Mapping[str, RunState],
    before: Mapping[str, str],
    trials: TrialResults,
) -> RowResult:
    """``before`` holds stored runs, which are shown until their repetitions have finished."""
    tuning, waiting = None, 0
    if plan.tuning is not None and row.trials:
        tuning = trials.of(row, plan.tuning, states)
        if row.problem is None:
            ended = sum(trial.ended for trial in tuning.trials)
            waiting = plan.tuning.trials - ended + plan.missing_repeats(row)
    keys = [run.key for run in row.runs]
    there = {key: states[key] for key in keys if key in states}
    failed = {key: state.error for key, state in there.items() if state.status == "failed"}
    problems = [row.problem] if row.problem is not None else []
    problems += [error for error in failed.values() if error]
    older = {key: before[key] for key in keys if key in before}
    older |= {k: s.run for k, s in there.items() if s.status == "stored" and s.run is not None}
    done = {k: s.run for k, s in there.items() if s.status == "finished" and s.run is not None}
    runs = {**older, **done}
    earlier = (other for other in itertools.takewhile(lambda o: o is not row, plan.rows))
    twin = next((o for o in earlier if keys and [run.key for run in o.runs] == keys), None)
    return RowResult(
        label=row.row.label,
        title=row.row.title,
        changes=row.changes,
        published=row.row.published,
        modified=row.modified,
        not_applicable=row.not_applicable,
        estimate=row.estimate,
        same_as=twin.row.label if twin is not None else None,
        runs=tuple(runs[key] for key in keys if key in runs),
        stored=tuple(older[key] for key in keys if key in older and key not in done),
        errors=tuple(problems),
        waiting=waiting + len(keys) - len(runs.keys() | failed.keys()),
        tuning=tuning,
    )


def _job(run: PlannedRun, options: RunOptions, at_once: int | None, group: str) -> Job:
    """The job for a separate process, with absolute paths and its number of threads."""
    threads = options.threads or max(torch.get_num_threads() // (at_once or 1), 1)
    plugins = tuple(str(Path(p).absolute()) if Path(p).is_file() else p for p in options.plugins)
    there = msgspec.structs.replace(
        options,
        threads=threads,
        out=options.out.absolute(),
        assets=options.assets.absolute() if options.assets is not None else None,
        plugins=plugins,
    )
    gpus = 1 if run.record.environment.device.startswith("cuda") else 0
    return Job(
        key=run.key,
        spec=run.spec,
        options=plain_options(there),
        cpus=threads,
        gpus=gpus,
        group=group,
    )
