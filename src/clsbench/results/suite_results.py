"""The results of a suite: a file in the store that lists the runs of each row."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import filelock
import msgspec

from clsbench.errors import UsageError
from clsbench.schema.decoding import DecodingError, decode_json, json_text, read_bytes
from clsbench.schema.experiment import ACCURACY
from clsbench.schema.record import Estimate
from clsbench.schema.suite import PublishedRow, with_changes
from clsbench.schema.tuning import TuneSpec
from clsbench.system.filesystem import OF_ALL_USERS, replace_text, storing_error

logger = logging.getLogger(__name__)

SUITES = "suites"
"""The folder in the store that contains one file per suite."""

SCHEMA_VERSION = 1

_ONE_WAY = ("base", "for_all", "seeds", "where", "tune")
"""Fields that must agree for rows of an earlier invocation to be kept."""


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """A trial of a tuned row: its values by dotted key, and its run with the row's first seed.

    ``score`` is the metric on the validation texts by which trials are chosen,
    ``validation_loss`` decides between equal scores. ``prefix_seconds`` and ``training_seconds``
    are its costs, ``prefix_found_seconds`` those of earlier runs for activations that it reused;
    with ``prefix_found``, these are unknown. A failed trial has an ``error`` in place of scores; a
    trial that has not ended has neither.
    """

    point: dict[str, Any]
    run: str | None = None
    score: float | None = None
    validation_loss: float | None = None
    prefix_seconds: float = 0.0
    training_seconds: float = 0.0
    prefix_found: bool = False
    prefix_found_seconds: float = 0.0
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it has finished or failed."""
        return self.run is not None or self.error is not None


class RowTuning(msgspec.Struct, frozen=True, kw_only=True):
    """The trials of a row, at most its ``budget`` (equal for all rows), and the place of the chosen
    one among them, once all have ended. ``metric`` is that of the scores, ``lower`` whether lower
    ones are better. ``adaptive``: later trials depend on earlier scores."""

    budget: int
    metric: str = ACCURACY
    lower: bool = False
    adaptive: bool = False
    trials: tuple[TrialResult, ...]
    chosen: int | None = None

    @property
    def chosen_trial(self) -> TrialResult | None:
        """The chosen trial."""
        return self.trials[self.chosen] if self.chosen is not None else None


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A row: its changes to the base experiment, and its runs, one per seed.

    ``runs`` are names of directories in the store, ``stored`` those that existed before.
    ``not_applicable`` is the reason why the row does not apply, ``errors`` are the errors of failed
    runs, ``waiting`` counts runs that have not ended. ``modified``: changes by the user or a
    stand-in make it a different experiment than the suite defines. ``same_as`` is the label of an
    earlier row with the same experiment, whose runs it shares. ``estimate`` is the estimated cost
    of one run. With ``tuning``, the runs are those of the chosen trial.
    """

    label: str
    title: str
    changes: dict[str, Any]
    published: PublishedRow | None
    modified: bool = False
    same_as: str | None = None
    estimate: Estimate | None = None
    not_applicable: str | None = None
    runs: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    waiting: int = 0
    tuning: RowTuning | None = None

    def final_changes(self) -> dict[str, Any]:
        """Its changes to the base experiment, with those of the chosen trial."""
        chosen = self.tuning.chosen_trial if self.tuning is not None else None
        return with_changes(self.changes, chosen.point) if chosen is not None else self.changes


class SuiteResults(msgspec.Struct, frozen=True, kw_only=True):
    """A suite: the user's options and its rows.

    ``for_all`` holds the user's changes to all rows, ``where`` the options that affect results,
    ``labels`` the labels of all rows of the suite. ``command`` is the command that last ran rows,
    without its selection of rows. ``tried`` are further runs that were trials: of rows that are
    tuned again while their earlier result stands, and of earlier invocations that did not choose
    them.
    """

    @property
    def origin(self) -> str:
        """The source and conditions of published figures."""
        conditions = f" ({self.conditions})" if self.conditions else ""
        return f"{self.source or 'as registered'}{conditions}"

    schema_version: int = SCHEMA_VERSION
    name: str
    description: str
    base: str
    for_all: dict[str, Any]
    seeds: tuple[int, ...] | int
    where: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    source: str
    conditions: str
    command: tuple[str, ...]
    created: str
    tune: TuneSpec | None = None
    rows: tuple[RowResult, ...]
    tried: tuple[str, ...] = ()

    def trials_not_chosen(self) -> dict[str, None]:
        """The runs that were trials and that no row has chosen, in the order of their trials."""
        chosen = {run for row in self.rows for run in row.runs}
        listed = (
            trial.run for row in self.rows if row.tuning is not None for trial in row.tuning.trials
        )
        return {
            run: None for run in (*self.tried, *listed) if run is not None and run not in chosen
        }


def write_suite_results(
    store: Path,
    results: SuiteResults,
    all_rows: Mapping[str, Mapping[str, Any]] | None = None,
    replacements: Mapping[str, str | None] | None = None,
) -> Path:
    """Replace the file of a suite atomically.

    Rows of the previous file that were not selected now are kept if the suite was run with the same
    options, and its trials that were not chosen stay known. ``all_rows`` maps the labels of all
    rows to their changes. ``replacements`` maps repeated runs to the new ones, in all rows.

    Raises:
        ClsbenchError: the disk is full, or the store cannot be written.
    """
    folder = store / SUITES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{results.name}.json"
        # Two invocations may run different rows of the suite.
        with filelock.FileLock(folder / f".{results.name}.lock", mode=OF_ALL_USERS):
            together = _with_earlier_rows(store, results, all_rows or {}, replacements or {})
            replace_text(target, json_text(together))
    except OSError as error:
        raise storing_error(error, store) from error
    return target


def _with_earlier_rows(
    store: Path,
    results: SuiteResults,
    all_rows: Mapping[str, Mapping[str, Any]],
    replacements: Mapping[str, str | None],
) -> SuiteResults:
    try:
        before = read_suite_results(store, results.name)
    except UsageError:
        return results
    tried = dict.fromkeys((*before.trials_not_chosen(), *results.tried))
    if any(_compared(before, name) != _compared(results, name) for name in _ONE_WAY):
        return _with_tried(results, tried)
    chosen = {row.label: row for row in results.rows}
    changes = msgspec.to_builtins(all_rows)
    kept = {
        row.label: msgspec.structs.replace(
            row,
            runs=tuple(replacements.get(run) or run for run in row.runs),
            stored=tuple(run for run in row.stored if run not in replacements),
            tuning=_with_replacements(row.tuning, replacements),
        )
        for row in before.rows
        if changes.get(row.label) == row.changes
    }
    rows: list[RowResult] = []
    for label in all_rows:
        row = chosen.get(label) or kept.get(label)
        if row is not None:
            twin = next((each.label for each in rows if each.runs and each.runs == row.runs), None)
            rows.append(msgspec.structs.replace(row, same_as=twin) if row.runs else row)
    return _with_tried(msgspec.structs.replace(results, rows=tuple(rows)), tried)


def _with_tried(results: SuiteResults, tried: Iterable[str]) -> SuiteResults:
    """The results with these further trials, without those of its rows."""
    of_rows = {run for row in results.rows for run in row.runs}
    of_rows |= {
        trial.run or "" for row in results.rows if row.tuning for trial in row.tuning.trials
    }
    return msgspec.structs.replace(results, tried=tuple(run for run in tried if run not in of_rows))


def _with_replacements(
    tuning: RowTuning | None, replacements: Mapping[str, str | None]
) -> RowTuning | None:
    if tuning is None:
        return None
    trials = (
        msgspec.structs.replace(trial, run=replacements.get(trial.run or "") or trial.run)
        for trial in tuning.trials
    )
    return msgspec.structs.replace(tuning, trials=tuple(trials))


def _compared(results: SuiteResults, name: str) -> Any:
    """A field without the metrics, which do not affect runs; the primary one chooses trials."""
    value = getattr(results, name)
    if name == "for_all":
        left_out = ("metrics",) if results.tune is not None else ("metric", "metrics")
        return {key: each for key, each in value.items() if key not in left_out}
    return value


def read_suite_results(store: Path, name: str) -> SuiteResults:
    """Read the latest results of the suite ``name`` in ``store``.

    Raises:
        UsageError: there are none, or the file is damaged or from another version.
    """
    file = store / SUITES / f"{name}.json"
    try:
        content = read_bytes(file)
        header = decode_json(content)
    except FileNotFoundError:
        close = difflib.get_close_matches(name, suites_of(store), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no results of suite {name!r} in {store}{hint}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except DecodingError as error:
        raise UsageError(f"{file} is damaged: {error}") from None
    version = header.get("schema_version") if isinstance(header, dict) else None
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{file} has schema_version {version}; this version of clsbench reads {SCHEMA_VERSION}"
        )
    try:
        return decode_json(content, SuiteResults)
    except DecodingError as error:
        raise UsageError(f"{file} is damaged: {error}") from None


def latest_suite(store: Path) -> SuiteResults | None:
    """The most recent readable results of a suite in ``store``, or ``None``."""
    return max(_all_results(store), key=lambda results: results.created, default=None)


def _all_results(store: Path) -> list[SuiteResults]:
    """The readable results of all suites in ``store``."""
    found = []
    for name in suites_of(store):
        try:
            found.append(read_suite_results(store, name))
        except UsageError as error:
            logger.warning("left out a suite: %s", error)
    return found


def trials_not_chosen(store: Path) -> dict[str, str]:
    """The runs in ``store`` that a tuned row tried and did not choose (yet), with its suite."""
    tried: dict[str, str] = {}
    chosen: set[str] = set()
    for results in _all_results(store):
        chosen.update(run for row in results.rows for run in row.runs)
        tried |= dict.fromkeys(results.trials_not_chosen(), results.name)
    return {run: suite for run, suite in tried.items() if run not in chosen}


def trials_of_rows(store: Path) -> dict[str, int]:
    """The number of trials from which each run of a tuned row in ``store`` was chosen, the largest
    one if several suites chose it."""
    found: dict[str, int] = {}
    for row in (row for results in _all_results(store) for row in results.rows):
        if row.tuning is not None:
            for run in row.runs:
                found[run] = max(row.tuning.budget, found.get(run, 0))
    return found


def suites_of(store: Path) -> list[str]:
    """The names of the suites with results in ``store``."""
    return sorted(file.stem for file in (store / SUITES).glob("*.json"))
