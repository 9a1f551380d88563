"""Arrange any runs with the same test texts as the rows of a suite."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from clsbench.analysis.comparison import compare_runs
from clsbench.errors import UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun
from clsbench.results.suite_results import RowResult, SuiteResults
from clsbench.schema.experiment import PublishedFigures
from clsbench.schema.suite import PublishedRow

logger = logging.getLogger(__name__)


def rows_of_runs(runs: Sequence[StoredRun]) -> SuiteResults:
    """One row per experiment among finished runs, named by the choices that distinguish it.

    The rows have absolute paths in ``runs``. ``command`` is empty, because the runs are of
    different commands.

    Raises:
        UsageError: there are no runs, a run did not finish, or the test texts differ.
    """
    if not runs:
        raise UsageError("no runs to report were found")
    groups = _groups(runs)
    records = [run.record for run in runs]
    experiments = list(dict.fromkeys(record.experiment for record in records))
    published = next((r.published for r in records if r.published is not None), None)
    return SuiteResults(
        name=", ".join(experiments),
        description=str(records[0].spec.get("description") or ", ".join(experiments)),
        base=experiments[0],
        for_all={},
        seeds=max(len({run.record.spec["seed"] for run in group}) for _, group in groups),
        source=published.source if published is not None else "",
        conditions=published.conditions if published is not None else "",
        command=(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(_row(n, title, group) for n, (title, group) in enumerate(groups, 1)),
    )


def with_predictions(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs whose predictions can be read; the others are named in a warning."""
    found = []
    for run in runs:
        try:
            read_predictions(run)
        except UsageError as error:
            logger.warning("left out %s: %s", run.path, error)
        else:
            found.append(run)
    return found


def _groups(runs: Sequence[StoredRun]) -> list[tuple[str, list[StoredRun]]]:
    for run in runs:
        if run.record.status != "finished":
            raise UsageError(
                f"the run {run.path.name} is {run.record.status}: only finished runs are reported"
            )
    by_name = {run.path.name: run for run in runs}
    try:
        comparison = compare_runs(runs)
    except UsageError:
        if len({run.record.fingerprint for run in runs}) > 1:
            raise
        # One experiment without baselines cannot be compared, but it can be reported.
        return [(runs[0].record.experiment, list(runs))]
    contenders = [each for each in comparison.contenders if each.runs]
    return [(each.name, [by_name[name] for name in each.runs]) for each in contenders]


def _row(number: int, title: str, runs: Sequence[StoredRun]) -> RowResult:
    record = runs[0].record
    return RowResult(
        label=str(number),
        title=title,
        changes={},
        published=None if record.modified else _published(record.published),
        modified=record.modified or bool(record.stand_ins),
        runs=tuple(str(Path(run.path).absolute()) for run in runs),
    )


def _published(figures: PublishedFigures | None) -> PublishedRow | None:
    if figures is None or not figures.accuracy:
        return None
    return PublishedRow(accuracy=dict(figures.accuracy))
