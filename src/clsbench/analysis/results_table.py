"""Stored runs as one flat table, a row a run."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from clsbench.analysis.figures import ACCURACY, SCORES, WITHOUT_LEAKED
from clsbench.errors import UsageError
from clsbench.results.store import StoredRun, scan
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.schema.experiment import COMPONENT_KEYS, component_table, format_component
from clsbench.schema.options import DEFAULT_STORE
from clsbench.schema.record import RunRecord, SplitMetrics

logger = logging.getLogger(__name__)

Kind = Literal["text", "flag", "count", "number"]
_DTYPES: Mapping[Kind, str] = {"text": "str", "flag": "bool", "count": "Int64", "number": "float64"}


class _Column(NamedTuple):
    name: str
    kind: Kind
    value: Callable[[StoredRun], Any]


def load_results(store: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Every stored run as a table, a row a run, in the order in which they were begun.

    ``store`` is the folder of runs (default: the environment variable ``CLSBENCH_RUNS``, else
    ``./runs``). Accuracies are fractions with the ends of their 95 % interval beside them; what a
    run did not come to is missing. Damaged runs are named in a warning and left out.

    Raises:
        UsageError: the store that was named does not exist or is no folder.
    """
    return results_table(load_runs(store))


def load_runs(store: str | os.PathLike[str] | None = None) -> tuple[StoredRun, ...]:
    """The stored runs themselves, as :func:`load_results` finds them.

    Raises:
        UsageError: the store that was named does not exist or is no folder.
    """
    named = os.fspath(store) if store is not None else os.environ.get(ENVIRONMENT["out"])
    path = Path(named) if named else DEFAULT_STORE
    if named and not path.exists():
        raise UsageError(
            f"there is no store of runs {path}; it is made by the first run "
            f"(clsbench run EXPERIMENT --out {path})"
        )
    found = scan(path)
    for directory, reason in found.damaged:
        logger.warning("left out %s: %s", directory, reason)
    return found.runs


def results_table(runs: Iterable[StoredRun]) -> pd.DataFrame:
    """One row a run; see :func:`load_results`. All columns are there even without any run."""
    runs = list(runs)
    columns = [
        *_IDENTITY,
        *_SETTINGS,
        *_FIGURES,
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


def typed_series(kind: Kind, values: Sequence[Any]) -> pd.Series[Any]:
    """A column of a table; ``None`` is missing."""
    if kind == "text":
        values = ["" if value is None else str(value) for value in values]
    elif kind == "number":
        values = [float("nan") if value is None else float(value) for value in values]
    elif kind == "flag":
        values = [bool(value) for value in values]
    return pd.Series(values, dtype=_DTYPES[kind])


# --- where each value stands in a record ----------------------------------------------------------


def _of_record(*path: str) -> Callable[[StoredRun], Any]:
    """Follow attributes; ``None`` where the run did not come to it."""

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
        choice = run.record.spec.get(key)
        return format_component(component_table(choice)) if choice else "none"

    return value


def stand_in_names(record: RunRecord) -> str:
    """The stand-ins of a run by name, ``""`` where there are none: ``synthetic-sms, gpt2-nano``."""
    return ", ".join(stand_in.by.partition(":")[0] for stand_in in record.stand_ins)


def _published(run: StoredRun) -> float | None:
    """The published test accuracy, where it belongs to this very experiment."""
    record = run.record
    if record.published is None or record.modified or record.stand_ins:
        return None
    return record.published.accuracy.get("test")


def _split_columns(split: str) -> list[_Column]:
    def of_split(read: Callable[[SplitMetrics], Any]) -> Callable[[StoredRun], Any]:
        def value(run: StoredRun) -> Any:
            metrics = run.record.metrics
            return read(getattr(metrics, split)) if metrics is not None else None

        return value

    def number(name: str, read: Callable[[SplitMetrics], float | None]) -> _Column:
        return _Column(f"{split}_{name}", "number", of_split(read))

    return [
        number(ACCURACY.name, ACCURACY.read),
        number("accuracy_low", lambda found: found.interval[0]),
        number("accuracy_high", lambda found: found.interval[1]),
        *(number(metric.name, metric.read) for metric in SCORES),
        _Column(f"{split}_n", "count", of_split(lambda found: found.n)),
        # Leaked texts come from the training split: in itself it has none.
        *([number(WITHOUT_LEAKED.name, WITHOUT_LEAKED.read)] if split != "train" else []),
    ]


_IDENTITY = (
    _Column("run", "text", lambda run: run.path.name),
    _Column("status", "text", _of_record("status")),
    _Column("experiment", "text", _of_record("experiment")),
    _Column("modified", "flag", _of_record("modified")),
    _Column("stand_ins", "text", lambda run: stand_in_names(run.record)),
)
_SETTINGS = (
    *(_Column(key, "text", _component(key)) for key in COMPONENT_KEYS),
    _Column("seed", "count", _of_spec("seed")),
    _Column("split", "text", _of_spec("data", "split", "name")),
    _Column("balance", "flag", _of_spec("data", "balance")),
    _Column("padding", "text", _of_spec("data", "padding")),
    _Column("epochs", "count", _of_spec("train", "epochs")),
    _Column("batch_size", "count", _of_spec("train", "batch_size")),
    _Column("accumulation", "count", _of_spec("train", "accumulation")),
    _Column("lr", "number", _of_spec("train", "lr")),
    _Column("weight_decay", "number", _of_spec("train", "weight_decay")),
)
_FIGURES = (
    *_split_columns("test"),
    *_split_columns("validation"),
    *_split_columns("train"),
    _Column("published_test_accuracy", "number", _published),
)
_COSTS = (
    _Column("trainable_parameters", "count", _of_record("parameters", "trainable")),
    _Column("total_parameters", "count", _of_record("parameters", "total")),
    _Column("examples_per_second", "number", _of_record("throughput", "examples_per_second")),
    _Column("real_tokens_per_second", "number", _of_record("throughput", "real_tokens_per_second")),
    _Column(
        "padded_tokens_per_second", "number", _of_record("throughput", "padded_tokens_per_second")
    ),
    _Column("peak_memory_bytes", "count", _of_record("peak_memory_bytes")),
    _Column("total_seconds", "number", lambda run: sum(run.record.phases_seconds.values())),
)
_CIRCUMSTANCES = (
    _Column("device", "text", _of_record("environment", "device")),
    _Column("device_name", "text", _of_record("environment", "device_name")),
    _Column("precision", "text", _of_record("environment", "precision")),
    _Column("threads", "count", _of_record("environment", "threads")),
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

_PHASES = ("assets", "data", "model", "training", "evaluation", "baselines")


def _phase_columns(runs: Iterable[StoredRun]) -> list[_Column]:
    phases = dict.fromkeys([*_PHASES, *(p for run in runs for p in run.record.phases_seconds)])

    def seconds(phase: str) -> Callable[[StoredRun], float | None]:
        return lambda run: run.record.phases_seconds.get(phase)

    return [_Column(f"{_identifier(phase)}_seconds", "number", seconds(phase)) for phase in phases]


def _baseline_columns(runs: Iterable[StoredRun]) -> list[_Column]:
    """The baselines' test accuracy: ``baseline_majority`` …, by name.

    Where one run has several of one name, the others' columns carry their options too.
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
    """Letters, digits and underscores only, so that a column can stand in an expression."""
    return re.sub(r"\W+", "_", text).strip("_")
