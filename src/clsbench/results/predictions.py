"""Write and read the predictions of a run and its baselines, stored beside the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clsbench.components.labels import (
    are_probabilities,
    classes_in_text,
    decided,
    label_array,
    label_text,
    labels_of,
)
from clsbench.errors import UsageError
from clsbench.results.csvtext import csv_line, unique_names
from clsbench.results.integrity import check_file
from clsbench.results.record_file import RECORD_FILE
from clsbench.results.store import StoredRun
from clsbench.schema.record import DataFacts, SplitMetrics

if TYPE_CHECKING:
    from clsbench.components.values import Splits

PREDICTIONS_FILE = "predictions.csv"
BASELINES_FILE = "baselines.csv"
_KEYS = ("split", "row", "label")


class Predictions(NamedTuple):
    """The predictions for the texts of one split, in the order of the split.

    ``rows`` (N,) are indices into the corpus, ``labels`` (N,) and ``predicted`` (N,) are class
    indices, ``probabilities`` (N, C) is float64. ``baselines`` holds the predicted classes (N,) of
    each baseline, ``baseline_probabilities`` the probabilities (N, C) of those that give them. For
    multi-label data, labels and predictions are (N, C) bool.
    """

    class_names: tuple[str, ...]
    rows: NDArray[np.int64]
    labels: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float64]
    baselines: Mapping[str, NDArray[Any]]
    baseline_probabilities: Mapping[str, NDArray[np.float64]]


# --- writing --------------------------------------------------------------------------------------


def write_predictions(
    directory: Path, splits: Splits, probabilities: Mapping[str, NDArray[np.floating]]
) -> None:
    """Write ``predictions.csv``: split, row in the corpus, label, probability of each class.

    ``probabilities`` holds an array (N, C) by split name; splits without one are not written.
    Numbers have the fewest digits that read back as the same value in the array's dtype.

    Raises:
        ValueError: an array is not (N, C).
    """
    names = splits.class_names
    header = [*_KEYS, *_probability_columns(names)]
    path = directory / PREDICTIONS_FILE
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        file.write(csv_line(header))
        for split in splits.all():
            if split.name not in probabilities:
                continue
            array = probabilities[split.name]
            if array.shape != (len(split), len(names)):
                raise ValueError(
                    f"probabilities of {split.name} are {array.shape}, expected "
                    f"{(len(split), len(names))}"
                )
            for row, label, numbers in zip(
                split.rows, split.labels, array.astype(str).tolist(), strict=True
            ):
                file.write(csv_line([split.name, str(row), label_text(label, names), *numbers]))


def write_baseline_predictions(
    directory: Path,
    splits: Splits,
    predicted: Mapping[str, Mapping[str, NDArray[Any]]],
    probabilities: Mapping[str, Mapping[str, NDArray[np.floating]]],
) -> None:
    """Write ``baselines.csv``: split, row in the corpus, label, predicted class of each baseline,
    and the probability of each class of those that give ``probabilities``.

    ``predicted`` holds class indices (N,), or (N, C) bool, by baseline and split name.
    """
    names = splits.class_names
    with (directory / BASELINES_FILE).open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(csv_line([*_KEYS, *_baseline_columns(predicted, probabilities, names)]))
        for split in splits.all():
            columns = [labels_of(by_split[split.name]) for by_split in predicted.values()]
            numbers = np.hstack([np.empty((len(split), 0)),
                                 *(of[split.name] for of in probabilities.values())])  # fmt: skip
            for row, label, given, *each in zip(
                split.rows, split.labels, numbers.astype(str).tolist(), *columns, strict=True
            ):
                classes = [label_text(found, names) for found in (label, *each)]
                file.write(csv_line([split.name, str(row), *classes, *given]))


def _probability_columns(class_names: Sequence[str]) -> list[str]:
    return unique_names(f"probability_{name}" for name in class_names)


def _baseline_columns(
    predicted: Iterable[str], probabilities: Iterable[str], class_names: Sequence[str]
) -> list[str]:
    """The columns of baselines: what each predicts, then the ``probabilities`` of some of them."""
    columns = _probability_columns(class_names)
    return [*predicted, *(f"{name} {column}" for name in probabilities for column in columns)]


# --- reading --------------------------------------------------------------------------------------


def read_predictions(run: StoredRun, split: str = "test") -> Predictions:
    """Read the predictions of a stored run and check them against its record.

    Raises:
        UsageError: the run has none for this split, or they are damaged: the file has changed, the
            values are not probabilities, or texts or metrics differ from those of the record.
    """
    data, metrics = run.record.data, run.record.metrics
    header, table = _table(run, PREDICTIONS_FILE, split)
    if not table.size or data is None or metrics is None:
        raise UsageError(
            f"the run {run.path.name} has no predictions for the {split} split: "
            f"{PREDICTIONS_FILE} is missing or does not contain them"
        )
    with _damaged(run.path / PREDICTIONS_FILE):
        _check_header(header, _probability_columns(data.class_names))
        rows = _rows(table[:, 1], data.corpus_texts)
        labels = _classes(table[:, 2], data)
        probabilities = _probabilities(table[:, len(_KEYS) :], rows, data.multi_label)
        predicted = decided(probabilities, _thresholds(run, data))
        _check_figures(labels, predicted, getattr(metrics, split), split, "")
    baselines, baseline_probabilities = _baselines(run, split, data, rows, labels)
    return Predictions(
        class_names=data.class_names,
        rows=rows,
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
        baselines=baselines,
        baseline_probabilities=baseline_probabilities,
    )


def _baselines(
    run: StoredRun,
    split: str,
    data: DataFacts,
    rows: NDArray[np.int64],
    labels: NDArray[Any],
) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[np.float64]]]:
    """The baselines' predictions and probabilities; empty for runs of versions that did not store
    them."""
    header, table = _table(run, BASELINES_FILE, split)
    if not header:
        return {}, {}
    with_probabilities = [each.component for each in run.record.baselines if each.probabilities]
    metrics = {each.component: getattr(each.metrics, split) for each in run.record.baselines}
    with _damaged(run.path / BASELINES_FILE):
        _check_header(header, _baseline_columns(metrics, with_probabilities, data.class_names))
        if not (
            np.array_equal(_rows(table[:, 1], data.corpus_texts), rows)
            and np.array_equal(_classes(table[:, 2], data), labels)
        ):
            raise ValueError(f"its texts differ from those in {PREDICTIONS_FILE}")
        predicted = {
            name: _classes(table[:, place], data) for place, name in enumerate(metrics, len(_KEYS))
        }
        for name in metrics:
            _check_figures(labels, predicted[name], metrics[name], split, f" of {name}")
        probabilities, begin = {}, len(_KEYS) + len(metrics)
        for name in with_probabilities:
            end = begin + len(data.class_names)
            probabilities[name] = _probabilities(table[:, begin:end], rows, data.multi_label)
            begin = end
    return predicted, probabilities


def _table(run: StoredRun, name: str, split: str) -> tuple[list[str], NDArray[np.object_]]:
    """The header and the rows of a split, all fields as text; both empty if the file is missing."""
    check_file(run.path, name, run.record)
    with _damaged(run.path / name):
        try:
            # A class may be named "NA", "1" or "inf", and two columns may have the same name.
            table = pd.read_csv(run.path / name, header=None, dtype=str, keep_default_na=False)
        except FileNotFoundError:
            return [], np.empty((0, 0), dtype=object)
        header, *_ = lines = table.to_numpy(dtype=object)
        if tuple(header[: len(_KEYS)]) != _KEYS:
            raise ValueError(f"its header is {', '.join(header)}")
        return header.tolist(), lines[1:][lines[1:, 0] == split]


@contextmanager
def _damaged(file: Path) -> Iterator[None]:
    """Raise a UsageError that names ``file`` for errors in reading or checking it."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is damaged: {error}") from None


def _check_header(header: Sequence[str], expected: Sequence[str]) -> None:
    found = list(header[len(_KEYS) :])
    if found != list(expected):
        raise ValueError(
            f"its columns are {', '.join(found)}; expected by {RECORD_FILE}: {', '.join(expected)}"
        )


def _rows(texts: NDArray[np.object_], corpus_texts: int) -> NDArray[np.int64]:
    """Indices into the corpus (N,)."""
    for text in texts:
        if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) >= corpus_texts:
            raise ValueError(
                f"the row {text[:40]!r} is not an index into the corpus of {corpus_texts:,} texts"
            )
    return texts.astype(np.int64)


def _thresholds(run: StoredRun, data: DataFacts) -> list[float] | None:
    """The thresholds of the classes, for multi-label data."""
    if not data.multi_label:
        return None
    found = run.record.thresholds
    if set(found) != set(data.class_names):
        raise ValueError(f"{RECORD_FILE} does not hold a threshold for every class")
    return [found[name] for name in data.class_names]


def _classes(names: NDArray[np.object_], data: DataFacts) -> NDArray[Any]:
    """Labels as (N,) int64 or, for multi-label data, (N, C) bool."""
    places = {name: place for place, name in enumerate(data.class_names)}
    listed = [classes_in_text(text) if data.multi_label else [text] for text in names]
    unknown = next((name for each in listed for name in each if name not in places), None)
    if unknown is not None:
        raise ValueError(f"unknown class {unknown[:40]!r}")
    labels = [tuple(places[name] for name in each) for each in listed]
    if not data.multi_label:
        return np.array([label for (label,) in labels], dtype=np.int64)
    return label_array(labels, len(data.class_names))


def _probabilities(
    texts: NDArray[np.object_], rows: NDArray[np.int64], multi_label: bool
) -> NDArray[np.float64]:
    """Probabilities (N, C) whose rows sum to 1, except for multi-label data."""
    found = texts.astype(np.float64)
    good = are_probabilities(found, multi_label)
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        listed = ", ".join(map(str, found[first].tolist()[:8]))
        raise ValueError(
            f"the probabilities of row {rows[first]} are {listed}; expected numbers from 0 to 1"
            f"{'' if multi_label else ' with the sum 1'}"
        )
    return found


def _check_figures(
    labels: NDArray[Any],
    predicted: NDArray[Any],
    metrics: SplitMetrics,
    split: str,
    whose: str,
) -> None:
    """Check that the accuracy and the confusion matrix, or the counts of each label, equal those of
    the record."""
    same = labels == predicted
    correct = int((same if labels.ndim == 1 else same.all(axis=1)).sum())
    of_record = (metrics.n, metrics.correct, metrics.accuracy)
    if not _same_counts(labels, predicted, metrics) or of_record != (
        len(labels),
        correct,
        correct / len(labels),
    ):
        raise ValueError(
            f"its {split} predictions{whose} do not match the metrics in {RECORD_FILE}: {correct} "
            f"of {len(labels)} are correct; recorded: {metrics.correct} of {metrics.n}, accuracy "
            f"{metrics.accuracy:.4f}, or another confusion matrix"
        )


def _same_counts(labels: NDArray[Any], predicted: NDArray[Any], metrics: SplitMetrics) -> bool:
    if labels.ndim == 2:
        hits, found, given = (
            m.sum(axis=0).tolist() for m in (labels & predicted, predicted, labels)
        )
        of_record = metrics.label_counts
        return (hits, found, given) == (
            [each.both for each in of_record],
            [each.both + each.only_predicted for each in of_record],
            [each.support for each in of_record],
        )
    counts = Counter(zip(labels.tolist(), predicted.tolist(), strict=True))
    expected = {
        (label, prediction): count
        for label, row in enumerate(metrics.confusion)
        for prediction, count in enumerate(row)
        if count
    }
    return counts == expected
