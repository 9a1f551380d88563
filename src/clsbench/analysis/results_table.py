"""Stored runs as a table with one row per run."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from clsbench.analysis.figures import (
    ACCURACY,
    WITHOUT_LEAKED,
    column_of,
    listed_metrics,
    primary_of,
    read_metric,
)
from clsbench.errors import UsageError
from clsbench.results.formats import line_width, marked
from clsbench.results.store import StoredRun, scan
from clsbench.schema.changes import short_component
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.schema.experiment import DEFAULT_METRICS, value_at
from clsbench.schema.options import DEFAULT_STORE
from clsbench.schema.record import RunRecord, SplitMetrics

logger = logging.getLogger(__name__)

Kind = Literal["text", "flag", "count", "number"]
_DTYPES: Mapping[Kind, str] = {"text": "str", "flag": "bool", "count": "Int64", "number": "float64"}


class _Column(NamedTuple):
    """A column; ``shown``, given the column's values, decides whether it is a default column.

    ``drop`` is the order in which a narrow terminal leaves default columns out, the lowest first; 0
    is never left out.
    """

    name: str
    kind: Kind
    value: Callable[[StoredRun], Any]
    shown: Callable[[pd.Series[Any]], bool] | None = None
    drop: int = 0


def load_results(store: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """All stored runs as a table with one row per run, in the order in which they were started.

    ``store`` is the folder of runs (default: the environment variable ``CLSBENCH_RUNS``, otherwise
    ``./runs``). Accuracies are fractions, followed by the ends of their 95 % interval. Values that
    a run does not have are missing. Damaged runs are left out with a warning.

    Raises:
        UsageError: the given store does not exist or is not a folder.
    """
    return results_table(load_runs(store))


def load_runs(store: str | os.PathLike[str] | None = None) -> tuple[StoredRun, ...]:
    """The stored runs that :func:`load_results` tabulates.

    Raises:
        UsageError: the given store does not exist or is not a folder.
    """
    named = os.fspath(store) if store is not None else os.environ.get(ENVIRONMENT["out"])
    path = Path(named) if named else DEFAULT_STORE
    if named and not path.exists():
        raise UsageError(
            f"the folder of runs {path} does not exist; the first run creates it "
            f"(clsbench run EXPERIMENT --out {path})"
        )
    found = scan(path)
    for directory, reason in found.damaged:
        logger.warning("left out %s: %s", directory, reason)
    return found.runs


def results_table(runs: Iterable[StoredRun]) -> pd.DataFrame:
    """One row per run; see :func:`load_results`. Without runs, the table has its columns too."""
    runs = list(runs)
    columns = [
        *_SETTINGS,
        *_metric_columns(runs),
        *_PUBLISHED,
        *_baseline_columns(runs),
        *_COSTS,
        *_phase_columns(runs),
        *_CIRCUMSTANCES,
    ]
    return pd.DataFrame(
        {
            column.name: typed_series(column.kind, [column.value(run) for run in runs])
            for column in columns
        }
    )


def default_columns(
    table: pd.DataFrame, width: int | None = None, metrics: Sequence[str] = ()
) -> list[str]:
    """The default columns of a :func:`results_table`, in the table's order.

    These are the test accuracy and the primary metric, with intervals, the best baseline's
    accuracy, the settings that differ between the runs, and the costs. With a ``width`` in
    characters, the most important of them that fit into a line are chosen; all, if not even the
    first differing setting fits. ``metrics`` are shown, too.
    """
    shown = [each for each in _DECLARED if each.shown is not None and each.shown(table[each.name])]
    chosen = {each.name for each in shown if not each.drop}
    named = [f"test_{column_of(name)}" for name in (*dict.fromkeys(table["metric"]), *metrics)]
    chosen |= {c for name in named for c in (name, f"{name}_low", f"{name}_high") if c in table}
    by_importance = sorted((each for each in shown if each.drop), key=lambda each: -each.drop)
    differing = [each.name for each in by_importance if each.shown is _differs]
    chosen |= {*differing[:1]}
    rest = [*_best_baseline(table), *(each.name for each in by_importance)]
    if width is None or line_width(marked(table[[*chosen]]), narrow=True) > width:
        chosen |= {*rest}
    else:
        for name in rest:
            if line_width(marked(table[[*{*chosen, name}]])) <= width:
                chosen.add(name)
    return [str(name) for name in table.columns if name in chosen]


def _best_baseline(table: pd.DataFrame) -> list[str]:
    """The column of the baseline with the highest mean accuracy, if there is one."""
    means = table.filter(regex="^baseline_").mean().dropna()
    return [str(means.idxmax())] if len(means) else []


def typed_series(kind: Kind, values: Sequence[Any]) -> pd.Series[Any]:
    """A column of a table; ``None`` becomes a missing value."""
    if kind == "text":
        values = ["" if value is None else str(value) for value in values]
    elif kind == "number":
        values = [float("nan") if value is None else float(value) for value in values]
    elif kind == "flag":
        values = [bool(value) for value in values]
    return pd.Series(values, dtype=_DTYPES[kind])


# --- when a column is shown by default -----------------------------------------------------------


def _always(values: pd.Series[Any]) -> bool:
    return True


def _differs(values: pd.Series[Any]) -> bool:
    return values.nunique(dropna=False) > 1


def _unless(usual: str) -> Callable[[pd.Series[Any]], bool]:
    """Unless all runs have the usual value."""
    return lambda values: bool((values != usual).any())


# --- reading values from a record -----------------------------------------------------------------


def _of_record(*path: str) -> Callable[[StoredRun], Any]:
    """Follow attributes; ``None`` if one of them is ``None``."""

    def value(run: StoredRun) -> Any:
        found: Any = run.record
        for name in path:
            found = getattr(found, name) if found is not None else None
        return found

    return value


def _of_spec(*path: str) -> Callable[[StoredRun], Any]:
    def value(run: StoredRun) -> Any:
        found: Any = run.record.spec
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return value


def _component(key: str) -> Callable[[StoredRun], str]:
    def value(run: StoredRun) -> str:
        choice = value_at(run.record.spec, key)
        return short_component(choice) if choice else "none"

    return value


def stand_in_names(record: RunRecord) -> str:
    """The names of a run's stand-ins, or ``""``: ``synthetic-sms, gpt2-nano``."""
    return ", ".join(stand_in.by.partition(":")[0] for stand_in in record.stand_ins)


def _published(run: StoredRun) -> float | None:
    """The published test accuracy; ``None`` if the run changed the published experiment."""
    record = run.record
    if record.published is None or record.modified or record.stand_ins:
        return None
    return record.published.accuracy.get("test")


def _metric_columns(runs: Sequence[StoredRun]) -> list[_Column]:
    """The metrics that the runs have, those of the default list in any case."""
    records = [run.record for run in runs]
    splits = [s for r in records if (m := r.metrics) for s in (m.train, m.validation, m.test)]
    names = dict.fromkeys([*DEFAULT_METRICS, *(n for r in records for n in listed_metrics(r.spec))])
    names |= dict.fromkeys(name for split in splits for name in split.scores)
    intervals = {name for split in splits for name in split.intervals}
    others = {name: name in intervals for name in names if name != ACCURACY.name}
    columns = [each for split in _SPLITS for each in _split_columns(split, others)]
    return list({column.name: column for column in columns}.values())


def _split_columns(split: str, others: Mapping[str, bool]) -> list[_Column]:
    """``others`` are the metrics besides the accuracy; whether a run has their interval."""

    def of_split(read: Callable[[SplitMetrics], Any]) -> Callable[[StoredRun], Any]:
        def value(run: StoredRun) -> Any:
            metrics = run.record.metrics
            return read(getattr(metrics, split)) if metrics is not None else None

        return value

    shown = _always if split == "test" else None

    def number(
        name: str,
        read: Callable[[SplitMetrics], float | None],
        shown: Callable[[pd.Series[Any]], bool] | None = None,
    ) -> _Column:
        return _Column(f"{split}_{name}", "number", of_split(read), shown)

    def end(name: str, place: int) -> Callable[[SplitMetrics], float | None]:
        return lambda found: found.intervals[name][place] if name in found.intervals else None

    def metric(name: str, interval: bool) -> list[_Column]:
        column = column_of(name)
        return [
            number(column, lambda found: read_metric(found, name)),
            *([number(f"{column}_low", end(name, 0))] if interval else []),
            *([number(f"{column}_high", end(name, 1))] if interval else []),
        ]

    return [
        number(ACCURACY.column, ACCURACY.read, shown),
        number("accuracy_low", lambda found: found.interval[0], shown),
        number("accuracy_high", lambda found: found.interval[1], shown),
        *(each for name, interval in others.items() for each in metric(name, interval)),
        _Column(f"{split}_n", "count", of_split(lambda found: found.n)),
        # Leaked texts are those that occur in the training split.
        *([number(WITHOUT_LEAKED.column, WITHOUT_LEAKED.read)] if split != "train" else []),
    ]


_SPLITS = ("test", "validation", "train")

_SETTINGS = (
    _Column("run", "text", lambda run: run.path.name, _always),
    _Column("status", "text", _of_record("status"), _unless("finished")),
    _Column("experiment", "text", _of_record("experiment"), _differs, drop=100),
    _Column("modified", "flag", _of_record("modified"), _differs, drop=38),
    _Column("stand_ins", "text", lambda run: stand_in_names(run.record), _unless("")),
    _Column("dataset", "text", _component("dataset"), _differs, drop=88),
    _Column("backbone", "text", _component("backbone"), _differs, drop=96),
    _Column("pooling", "text", _component("pooling"), _differs, drop=94),
    _Column("head", "text", _component("head"), _differs, drop=92),
    _Column("freezing", "text", _component("freezing"), _differs, drop=98),
    _Column("adapter", "text", _component("adapter"), _differs, drop=90),
    _Column("seed", "count", _of_spec("seed"), _differs, drop=86),
    _Column("split", "text", _of_spec("data", "split", "name"), _differs, drop=60),
    _Column("balance", "flag", _of_spec("data", "balance"), _differs, drop=56),
    _Column("padding", "text", _of_spec("data", "padding"), _differs, drop=58),
    _Column("epochs", "count", _of_spec("train", "epochs"), _differs, drop=54),
    _Column("batch_size", "count", _of_spec("train", "batch_size"), _differs, drop=50),
    _Column("accumulation", "count", _of_spec("train", "accumulation"), _differs, drop=46),
    _Column("lr", "number", _of_spec("train", "lr"), _differs, drop=52),
    _Column("weight_decay", "number", _of_spec("train", "weight_decay"), _differs, drop=48),
    _Column("optimizer", "text", _component("train.optimizer"), _differs, drop=53),
    _Column("schedule", "text", _component("train.schedule"), _differs, drop=51),
    _Column("loss_function", "text", _component("train.loss"), _differs, drop=49),
    _Column("layer_decay", "number", _of_spec("train", "layer_decay"), _differs, drop=47),
    _Column(
        "gradient_clipping", "number", _of_spec("train", "gradient_clipping"), _differs, drop=45
    ),
    _Column("select", "text", _of_spec("train", "select"), _differs, drop=44),
    _Column("patience", "count", _of_spec("train", "patience"), _differs, drop=43),
    _Column("used_epoch", "count", _of_record("history", "selection", "used_epoch")),
    _Column("metric", "text", lambda run: primary_of(run.record.spec)),
)
_PUBLISHED = (_Column("published_test_accuracy", "number", _published),)
_COSTS = (
    _Column(
        "trainable_parameters", "count", _of_record("parameters", "trainable"), _always, drop=78
    ),
    _Column("total_parameters", "count", _of_record("parameters", "total")),
    _Column("examples_per_second", "number", _of_record("throughput", "examples_per_second")),
    _Column("real_tokens_per_second", "number", _of_record("throughput", "real_tokens_per_second")),
    _Column(
        "padded_tokens_per_second", "number", _of_record("throughput", "padded_tokens_per_second")
    ),
    _Column("peak_memory_bytes", "count", _of_record("peak_memory_bytes")),
    _Column(
        "total_seconds",
        "number",
        lambda run: sum(run.record.phases_seconds.values()),
        _always,
        drop=80,
    ),
)
_CIRCUMSTANCES = (
    _Column("device", "text", _of_record("environment", "device"), _differs, drop=42),
    _Column("device_name", "text", _of_record("environment", "device_name")),
    _Column("precision", "text", _of_record("environment", "precision"), _differs, drop=44),
    _Column("threads", "count", _of_record("environment", "threads"), _differs, drop=40),
    _Column("torch", "text", _of_record("environment", "torch")),
    _Column("clsbench", "text", _of_record("environment", "clsbench")),
    _Column("git_commit", "text", _of_record("environment", "git_commit")),
    _Column("max_length", "count", _of_record("data", "max_length")),
    _Column("padding_fraction", "number", _of_record("data", "padding_fraction")),
    _Column("leaked_validation", "count", _of_record("data", "leaked", "validation")),
    _Column("leaked_test", "count", _of_record("data", "leaked", "test")),
    _Column("created", "text", _of_record("created")),
    _Column("fingerprint", "text", _of_record("fingerprint")),
    _Column("spec_fingerprint", "text", _of_record("spec_fingerprint")),
    _Column("run_key", "text", _of_record("run_key")),
    _Column("error", "text", _of_record("error")),
    _Column("path", "text", lambda run: run.path),
)

_DECLARED = (*_SETTINGS, *_split_columns("test", {}), *_COSTS, *_CIRCUMSTANCES)

_PHASES = ("assets", "data", "model", "training", "evaluation", "baselines")


def _phase_columns(runs: Iterable[StoredRun]) -> list[_Column]:
    phases = dict.fromkeys([*_PHASES, *(p for run in runs for p in run.record.phases_seconds)])

    def seconds(phase: str) -> Callable[[StoredRun], float | None]:
        return lambda run: run.record.phases_seconds.get(phase)

    return [_Column(f"{_identifier(phase)}_seconds", "number", seconds(phase)) for phase in phases]


def _baseline_columns(runs: Iterable[StoredRun]) -> list[_Column]:
    """The test accuracy of baselines by name: ``baseline_majority`` ….

    If a run has several baselines of one name, the columns of the others include their options.
    """
    columns: dict[str, _Column] = {}
    for run in runs:
        for name in _baselines(run.record):
            columns[name] = _Column(name, "number", _baseline_accuracy(name))
    return list(columns.values())


def _baseline_accuracy(name: str) -> Callable[[StoredRun], float | None]:
    def value(run: StoredRun) -> float | None:
        metrics = _baselines(run.record).get(name)
        return metrics.accuracy if metrics else None

    return value


def _baselines(record: RunRecord) -> dict[str, SplitMetrics]:
    found: dict[str, SplitMetrics] = {}
    for result in record.baselines:
        short = f"baseline_{_identifier(result.component.partition(':')[0])}"
        name = f"baseline_{_identifier(result.component)}" if short in found else short
        found[name] = result.metrics.test
    return found


def _identifier(text: str) -> str:
    """Only letters, digits and underscores, so that a column can be used in an expression."""
    return re.sub(r"\W+", "_", text).strip("_")
