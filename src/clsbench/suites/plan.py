"""Plan a suite: the experiment and runs of every row, and the estimated cost of new runs.

suite + the user's changes → experiments → identified runs → plans of those that are not stored
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec
import torch

from clsbench.components.catalog import Catalog
from clsbench.components.resolve import (
    Experiment,
    expand_method,
    expand_methods,
    find_spec,
    resolve,
)
from clsbench.errors import AssetError, ClsbenchError, DataError, UsageError
from clsbench.experiment.planning import check_metrics, identify_run, run_key
from clsbench.experiment.preparation import PreparedFiles, prepare_files
from clsbench.experiment.sharing import SharedWork, plan_key
from clsbench.results.store import finished_run
from clsbench.schema.changes import changes_text
from clsbench.schema.experiment import ExperimentSpec
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord
from clsbench.schema.suite import SuiteRow, SuiteSpec, with_changes
from clsbench.schema.tuning import refuse_fixed
from clsbench.suites.estimation import Speed, estimate_run, measure_speed
from clsbench.suites.planned import PlannedRow, PlannedRun, PlannedTrial, SuitePlan
from clsbench.suites.proposals import Tuning, make_tuning
from clsbench.system.environment import choose_device, circumstances

logger = logging.getLogger(__name__)


def plan_suite(
    suite: SuiteSpec,
    rows: Sequence[SuiteRow],
    for_all: Mapping[str, Any],
    seeds: Sequence[int] | int,
    options: RunOptions,
    catalog: Catalog,
    on_row: Callable[[SuiteRow], None] = lambda row: None,
    file: str = "",
    force: bool = False,
) -> SuitePlan:
    """Plan all rows; a row that cannot be run, such as one without its file, has the reason.

    ``file`` is the prefix of errors about the suite, such as ``mine.toml: ``. Rows whose runs have
    all finished have no estimate, unless ``force`` repeats them.

    Raises:
        UsageError: the base does not exist, the changes for all rows fit no row, a row is invalid
            by itself, or no row is valid with the changes for all rows; the data of a row are
            invalid or do not allow its settings; the tuning does not fit, a row fixes what is
            tuned, or two data sets have the same texts.
    """
    with _naming(file):
        base = find_spec(suite.base, catalog)
    labels = {row.label for row in rows}
    suite = expand_methods(suite, catalog)
    rows = [row for row in suite.rows if row.label in labels]
    for_all = expand_method(for_all, catalog)
    tuning = None
    if suite.tune is not None:
        with _naming(file):
            for row in rows:
                refuse_fixed(suite.tune, row.changes, f"row {row.label}")
        refuse_fixed(suite.tune, for_all, "the command line")
        given = resolve(base, {**suite.changes, **for_all}, catalog).spec
        assert given.metric is not None
        seed = given.seed if isinstance(seeds, int) else seeds[0]
        tuning = make_tuning(suite.tune, seed, given.metric, catalog)
    elif for_all:
        resolve(base, {**suite.changes, **for_all}, catalog)
    for row in rows:
        with _naming(file):
            _refuse_mistakes(row, suite, base, for_all, catalog)
    device = choose_device(options.device, options.precision)
    planned = []
    with circumstances(options):
        speed = cache(partial(measure_speed, device, options.precision))
        context = _PlanContext(
            suite,
            base,
            for_all,
            seeds,
            options,
            catalog,
            device,
            speed,
            force,
            tuning,
            SharedWork(),
            {},
        )
        refused: dict[str, list[str]] = {}
        for row in rows:
            on_row(row)
            try:
                planned.append(_plan_row(row, context))
            except DataError as error:
                refused.setdefault(str(error), []).append(row.label)
    if refused or all(row.invalid for row in planned):
        for failed in (row for row in planned if row.invalid):
            refused.setdefault(failed.problem or "", []).append(failed.row.label)
        raise UsageError(file + _refusal(refused, len(rows)))
    _refuse_equal_data(planned, file)
    return SuitePlan(
        suite,
        dict(for_all),
        seeds if isinstance(seeds, int) else tuple(seeds),
        tuple(planned),
        tuning,
        partial(_plan_later_trial, context=context),
    )


def _refusal(problems: Mapping[str, Sequence[str]], rows: int) -> str:
    """The message about rows, listed by problem, because of which none of the ``rows`` is run."""
    named = "; ".join(f"row {', '.join(labels)}: {why}" for why, labels in problems.items())
    if sum(map(len, problems.values())) < rows:
        return f"{named}. No row was run; correct this, or select other rows with --rows"
    if rows > 1 and len(problems) == 1:
        return f"no row of the suite is valid: {next(iter(problems))}"
    return f"no row of the suite is valid; {named}"


@contextmanager
def _naming(file: str) -> Iterator[None]:
    try:
        yield
    except ClsbenchError as error:
        raise type(error)(f"{file}{error}") from None


def _refuse_mistakes(
    row: SuiteRow,
    suite: SuiteSpec,
    base: ExperimentSpec,
    for_all: Mapping[str, Any],
    catalog: Catalog,
) -> None:
    """Refuse a row that cannot be resolved, such as one with a misspelt key.

    A row that is valid without the user's changes for all rows is kept, since other rows may accept
    them, and so is a tuned one that is valid with the first or the last of the values.
    """
    errors: list[ClsbenchError] = []
    for tried in (for_all, {}):
        for place in (0, -1) if suite.tune is not None else (0,):
            point = {k: v[place] for k, v in suite.tune.space.items()} if suite.tune else {}
            try:
                resolve(base, with_changes(suite.changes_of(row, tried), point), catalog)
            except ClsbenchError as error:
                errors.append(error)
            else:
                return
    raise type(errors[0])(f"row {row.label} ({row.title}): {errors[0]}")


def _refuse_equal_data(rows: Sequence[PlannedRow], file: str) -> None:
    """Refuse rows that name different data sets with equal texts in all splits.

    They would count as two data sets. A stand-in may replace several data sets.
    """
    seen: dict[str, tuple[SuiteRow, str]] = {}
    for row in rows:
        record = row.all_runs()[0].record if row.all_runs() else None
        chosen = {k: v for k, v in row.changes.items() if k.partition(".")[0] == "dataset"}
        if not chosen or record is None or record.data is None:
            continue
        if any(each.axis == "dataset" for each in record.stand_ins):
            continue
        here = (row.row, changes_text(chosen))
        other, named = seen.setdefault(record.data.sha256, here)
        if named != here[1]:
            raise UsageError(
                f"{file}rows {other.label} and {row.row.label} have the same texts in all splits "
                f"({named}; {here[1]}); name each data set once"
            )


class _PlanContext(NamedTuple):
    """State that all rows share; ``unreachable`` holds sets of assets that could not be fetched,
    with reasons."""

    suite: SuiteSpec
    base: ExperimentSpec
    for_all: Mapping[str, Any]
    seeds: Sequence[int] | int
    options: RunOptions
    catalog: Catalog
    device: torch.device
    speed: Callable[[], Speed]
    force: bool
    tuning: Tuning | None
    work: SharedWork
    unreachable: dict[frozenset[str], str]


class _TrialProblemError(UsageError):
    """A trial that cannot be run, so that its row would have fewer trials than the others."""

    def __init__(self, point: Mapping[str, Any], planned: PlannedRow) -> None:
        super().__init__(f"trial {changes_text(point)}: {planned.problem}")
        self.planned = planned


def _plan_row(row: SuiteRow, context: _PlanContext) -> PlannedRow:
    if context.tuning is None:
        return _plan_experiment(row, {}, context)
    try:
        trials = tuple(_plan_trial(row, point, context) for point in context.tuning.next_points([]))
        check_trials(trials)
    except _TrialProblemError as error:
        problem = None if error.planned.not_applicable is not None else str(error)
        return error.planned._replace(problem=problem)
    except DataError:
        raise
    except ClsbenchError as error:
        changes = context.suite.changes_of(row, context.for_all)
        return PlannedRow(row, changes, problem=str(error), invalid=isinstance(error, UsageError))
    changes = context.suite.changes_of(row, context.for_all)
    return PlannedRow(row, changes, modified=True, trials=trials)


def _plan_trial(row: SuiteRow, point: dict[str, Any], context: _PlanContext) -> PlannedTrial:
    planned = _plan_experiment(row, point, context)
    if not planned.runs:
        raise _TrialProblemError(point, planned)
    return PlannedTrial(point, planned.runs, planned.estimate)


def _plan_later_trial(row: SuiteRow, point: dict[str, Any], context: _PlanContext) -> PlannedTrial:
    with circumstances(context.options):
        return _plan_trial(row, point, context)


def check_trials(trials: Sequence[PlannedTrial]) -> None:
    """Check that the trials of a row differ, and that they are chosen on the same texts.

    Raises:
        UsageError: they are not.
    """
    by_key: dict[str, PlannedTrial] = {}
    first = trials[0].runs[0].record.data
    for trial in trials:
        other = by_key.setdefault(trial.runs[0].key, trial)
        if other is not trial:
            raise UsageError(
                f"the trials {changes_text(other.point)} and {changes_text(trial.point)} are the "
                "same experiment; tune what changes it"
            )
        data = trial.runs[0].record.data
        if first is not None and data is not None and data.sha256 != first.sha256:
            raise UsageError(
                f"the trials {changes_text(trials[0].point)} and {changes_text(trial.point)} have "
                "different texts in their splits, so they cannot be chosen by their validation "
                "score; do not tune the data set or the split"
            )


def _plan_experiment(row: SuiteRow, point: Mapping[str, Any], context: _PlanContext) -> PlannedRow:
    """Plan the row's experiment, with the values of a trial.

    Raises:
        DataError: the data are invalid, or do not allow the settings.
    """
    changes = context.suite.changes_of(row, context.for_all)
    wanted: frozenset[str] = frozenset()
    try:
        experiment = resolve(context.base, with_changes(changes, point), context.catalog)
        modified = _is_modified(row, point, experiment, context)
        components = (experiment.dataset, experiment.backbone)
        wanted = frozenset(asset.key for each in components for asset in each.assets())
        if wanted in context.unreachable:  # an earlier row has tried to fetch them
            return PlannedRow(row, changes, problem=context.unreachable[wanted])
        files = prepare_files(experiment, context.options, context.catalog, dry_run=True)
        lacking = _unsupported_by_stand_ins(row, experiment, files)
        if lacking is not None:
            return PlannedRow(row, changes, not_applicable=lacking)
        data = context.work.data(files.experiment, files.files)
        record = identify_run(files.experiment, context.options, context.device, files, data)
        planned = None
        counts = _stored_counts(record, experiment, context)
        if counts is not None:
            record = msgspec.structs.replace(record, **counts)
        else:
            check_metrics(files.experiment, data, only_primary=True)
            planned = context.work.plan(
                files.experiment, context.options, context.device, data, record
            )
            record = planned.record
    except AssetError as error:
        context.unreachable[wanted] = str(error)
        return PlannedRow(row, changes, problem=str(error))
    except DataError:
        raise
    except ClsbenchError as error:
        invalid = isinstance(error, UsageError)
        return PlannedRow(row, changes, problem=str(error), invalid=invalid)
    except Exception as error:  # an error of a component must not stop the other rows
        return PlannedRow(row, changes, problem=f"{type(error).__name__}: {error}")
    estimate = None
    try:
        if planned is not None:
            key = plan_key(files.experiment, context.options, data)
            estimate = context.work.estimates.get(key)
            if estimate is None:
                estimate = estimate_run(files.experiment, planned, data, context.speed())
                context.work.estimates[key] = estimate
    except (
        Exception
    ) as error:  # a component may run even if it cannot be estimated on the meta device
        logger.warning("row %s: its duration cannot be estimated: %s", row.label, error)
    return PlannedRow(
        row,
        changes,
        runs=_runs(experiment, record, context.seeds),
        modified=bool(files.stand_ins) or modified,
        estimate=estimate,
    )


def _is_modified(
    row: SuiteRow, point: Mapping[str, Any], experiment: Experiment, context: _PlanContext
) -> bool:
    """Whether the user's changes make it another experiment than that of the suite's row, which may
    be valid with these changes only (``dataset.path`` of the user's ``dataset``)."""
    own = with_changes(context.suite.changes_of(row, {}), point)
    try:
        return experiment.identity() != resolve(context.base, own, context.catalog).identity()
    except UsageError:
        return True


def _stored_counts(
    record: RunRecord, experiment: Experiment, context: _PlanContext
) -> dict[str, Any] | None:
    """The counts of parameters, memory and shortcuts from a stored run, if all the row's runs are
    stored.

    The row then does not have to be planned, except with ``force``.
    """
    keys = [run.key for run in _runs(experiment, record, context.seeds)]
    keys = keys[:1] if context.tuning is not None else keys
    stored = [finished_run(context.options.out, key) for key in keys]
    first = stored[0]
    if context.force or first is None or None in stored:
        return None
    counted = ("parameters", "memory_bytes_expected", "fast_path")
    return {name: getattr(first.record, name) for name in counted}


def _unsupported_by_stand_ins(
    row: SuiteRow, experiment: Experiment, files: PreparedFiles
) -> str | None:
    """Why the row does not apply with the stand-ins; ``None`` if it does."""
    for stand_in in files.stand_ins:
        who = f"{stand_in.by} stands in for {stand_in.replaced}, but"
        for key in row.changes:
            axis, _, option = key.partition(".")
            if axis == stand_in.axis and option and option not in files.experiment.tree[axis]:
                return f"{who} has no {option}"
        padding = experiment.spec.data.padding
        if stand_in.axis == "backbone" and isinstance(padding, int):
            context = files.experiment.backbone.context_length()
            if experiment.backbone.context_length() >= padding > context:
                return f"{who} its context has {context:,} tokens, not {padding:,}"
    return None


def _runs(
    experiment: Experiment, record: RunRecord, seeds: Sequence[int] | int
) -> tuple[PlannedRun, ...]:
    """One run per seed; the rest of the plan does not depend on the seed."""
    if isinstance(seeds, int):
        seeds = range(experiment.spec.seed, experiment.spec.seed + seeds)
    kind, precision = record.environment.device.partition(":")[0], record.environment.precision
    found = []
    for seed in seeds:
        planned = msgspec.structs.replace(
            record,
            spec={**record.spec, "seed": seed},
            run_key=run_key(record.fingerprint, kind, precision, seed),
        )
        found.append(PlannedRun(spec={**experiment.tree, "seed": seed}, record=planned))
    return tuple(found)
