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
from clsbench.errors import AssetError, ClsbenchError, UsageError
from clsbench.experiment.planning import identify_run, plan_run, run_key
from clsbench.experiment.preparation import PreparedFiles, prepare_data, prepare_files
from clsbench.results.store import finished_run
from clsbench.schema.experiment import ExperimentSpec
from clsbench.schema.options import RunOptions
from clsbench.schema.record import Estimate, RunRecord
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.estimation import Speed, estimate_run, measure_speed
from clsbench.system.environment import choose_device, circumstances

logger = logging.getLogger(__name__)


class PlannedRun(NamedTuple):
    """A run of a row: the experiment before any substitution, and the record that it would have."""

    spec: dict[str, Any]
    record: RunRecord

    @property
    def key(self) -> str:
        """The run key."""
        return self.record.run_key


class PlannedRow(NamedTuple):
    """A row and its runs, one per seed, planned but not run.

    ``problem`` is the reason why the row cannot be run, ``invalid`` whether the row itself is
    wrong, ``not_applicable`` the reason why it does not apply; ``runs`` is then empty. ``changes``
    are its differences from the base, including the user's changes. ``modified``: these or a
    stand-in make it a different experiment, so the published figures do not apply.
    """

    row: SuiteRow
    changes: dict[str, Any]
    runs: tuple[PlannedRun, ...] = ()
    modified: bool = False
    problem: str | None = None
    invalid: bool = False
    not_applicable: str | None = None
    estimate: Estimate | None = None


class SuitePlan(NamedTuple):
    """The selected rows of a suite, planned.

    ``seeds`` are the requested seeds, or their number, counted up from each row's own.
    """

    suite: SuiteSpec
    for_all: dict[str, Any]
    seeds: tuple[int, ...] | int
    rows: tuple[PlannedRow, ...]

    def warnings(self) -> list[str]:
        """The warnings of all runs, such as about missing weights, without duplicates."""
        return list(dict.fromkeys(
            warning for row in self.rows for run in row.runs for warning in run.record.warnings
        ))  # fmt: skip

    def runs(self) -> dict[str, PlannedRun]:
        """All distinct runs by key, in the order of the rows."""
        return {run.key: run for row in self.rows for run in row.runs}


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
    """Plan all rows; a row that cannot be run has the reason.

    ``file`` is the prefix of errors about the suite, such as ``mine.toml: ``. Rows whose runs have
    all finished have no estimate, unless ``force`` repeats them.

    Raises:
        UsageError: the base does not exist, the changes for all rows fit no row, a row is invalid
            by itself, or no row is valid with the changes for all rows.
    """
    with _naming(file):
        base = find_spec(suite.base, catalog)
    labels = {row.label for row in rows}
    suite = expand_methods(suite, catalog)
    rows = [row for row in suite.rows if row.label in labels]
    for_all = expand_method(for_all, catalog)
    if for_all:
        resolve(base, {**suite.changes, **for_all}, catalog)
    for row in rows:
        with _naming(file):
            _refuse_mistakes(row, suite, base, for_all, catalog)
    device = choose_device(options.device, options.precision)
    planned = []
    with circumstances(options):
        speed = cache(partial(measure_speed, device, options.precision))
        context = _PlanContext(
            suite, base, for_all, seeds, options, catalog, device, speed, force, {}
        )
        for row in rows:
            on_row(row)
            planned.append(_plan_row(row, context))
    if all(row.invalid for row in planned):
        problems = dict.fromkeys(f"row {row.row.label}: {row.problem}" for row in planned)
        raise UsageError(f"{file}no row of the suite is valid; " + "; ".join(problems))
    return SuitePlan(
        suite, dict(for_all), seeds if isinstance(seeds, int) else tuple(seeds), tuple(planned)
    )


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
    them.
    """
    try:
        resolve(base, suite.changes_of(row, for_all), catalog)
    except ClsbenchError as error:
        try:
            resolve(base, suite.changes_of(row, {}), catalog)
        except ClsbenchError:
            raise type(error)(f"row {row.label} ({row.title}): {error}") from None


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
    unreachable: dict[frozenset[str], str]


def _plan_row(row: SuiteRow, context: _PlanContext) -> PlannedRow:
    changes = context.suite.changes_of(row, context.for_all)
    wanted: frozenset[str] = frozenset()
    try:
        experiment = resolve(context.base, changes, context.catalog)
        meant = resolve(context.base, context.suite.changes_of(row, {}), context.catalog)
        components = (experiment.dataset, experiment.backbone)
        wanted = frozenset(asset.key for each in components for asset in each.assets())
        if wanted in context.unreachable:  # an earlier row has tried to fetch them
            return PlannedRow(row, changes, problem=context.unreachable[wanted])
        files = prepare_files(experiment, context.options, context.catalog, dry_run=True)
        lacking = _unsupported_by_stand_ins(row, experiment, files)
        if lacking is not None:
            return PlannedRow(row, changes, not_applicable=lacking)
        data = prepare_data(files.experiment, files.files)
        record = identify_run(files.experiment, context.options, context.device, files, data)
        planned = None
        counts = _stored_counts(record, experiment, context)
        if counts is not None:
            record = msgspec.structs.replace(record, **counts)
        else:
            planned = plan_run(files.experiment, context.options, context.device, data, record)
            record = planned.record
    except AssetError as error:
        context.unreachable[wanted] = str(error)
        return PlannedRow(row, changes, problem=str(error))
    except ClsbenchError as error:
        invalid = isinstance(error, UsageError)
        return PlannedRow(row, changes, problem=str(error), invalid=invalid)
    except Exception as error:  # an error of a component must not stop the other rows
        return PlannedRow(row, changes, problem=f"{type(error).__name__}: {error}")
    estimate = None
    try:
        if planned is not None:
            estimate = estimate_run(files.experiment, planned, data, context.speed())
    except (
        Exception
    ) as error:  # a component may run even if it cannot be estimated on the meta device
        logger.warning("row %s: its duration cannot be estimated: %s", row.label, error)
    return PlannedRow(
        row,
        changes,
        runs=_runs(experiment, record, context.seeds),
        modified=bool(files.stand_ins) or experiment.identity() != meant.identity(),
        estimate=estimate,
    )


def _stored_counts(
    record: RunRecord, experiment: Experiment, context: _PlanContext
) -> dict[str, Any] | None:
    """The counts of parameters, memory and shortcuts from a stored run, if all the row's runs are
    stored.

    The row then does not have to be planned, except with ``force``.
    """
    keys = [run.key for run in _runs(experiment, record, context.seeds)]
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
