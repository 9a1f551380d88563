"""The metrics of a classifier on a whole split, and the interval of its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from clsbench.analysis.figures import FIELDS, read_metric
from clsbench.components.labels import Task
from clsbench.components.metric import Metric
from clsbench.errors import PluginError, UndefinedMetricError
from clsbench.schema.record import LabelCounts, SplitMetrics

CONFIDENCE = 0.95
"""The level of every interval in a record."""

Labels = NDArray[Any]
"""Classes of texts (N,), integers; for multi-label data (N, C) bool."""

Probabilities = NDArray[np.float64]
"""Probabilities of classes (N, C)."""


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy, as fractions ``(low, high)``.

    ``correct`` of ``n`` texts are classified correctly; for several runs, ``correct`` is their
    mean.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209.

    Raises:
        ValueError: ``n`` is zero or ``correct`` is not between 0 and ``n``.
    """
    from scipy.special import ndtri

    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct of {n} has no interval")
    squared = float(ndtri((1 + CONFIDENCE) / 2)) ** 2
    middle = (correct + squared / 2) / (n + squared)
    half = math.sqrt(squared * (correct * (n - correct) / n + squared / 4)) / (n + squared)
    share = correct / n  # which rounding could leave outside at 0 and 1
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def split_metrics(
    labels: Labels,
    predicted: Labels,
    num_classes: int,
    *,
    metrics: Mapping[str, Metric],
    probabilities: Probabilities | None = None,
    loss: float | None = None,
    leaked: NDArray[np.bool_] | None = None,
) -> SplitMetrics:
    """The metrics of a classifier with these true and ``predicted`` labels.

    Both are integers below ``num_classes``, or (N, C) bool for multi-label data; ``probabilities``
    (N, C) are ``None`` for a classifier that gives none. ``metrics`` by name are computed besides
    the accuracy; ``loss``, if known, replaces ``log-loss``. ``leaked`` (N,) bool marks the texts
    that occur in the training split. If it marks some but not all, ``without_leaked`` holds the
    metrics on the others.

    Raises:
        ValueError: the arrays are empty, differ in length or hold classes that do not exist.
        PluginError: a metric fails.
    """
    from sklearn.metrics import confusion_matrix  # slow to load

    labels, predicted = np.asarray(labels), np.asarray(predicted)
    shape = labels.shape[:1] if labels.ndim == 1 else (len(labels), num_classes)
    if labels.shape != shape or labels.shape != predicted.shape or not labels.size:
        raise ValueError(
            f"labels {labels.shape} and predicted {predicted.shape} must be equally long, (N,)"
        )
    for name, values in (("labels", labels), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(f"{name} must lie between 0 and {num_classes - 1}")
    if leaked is not None and np.shape(leaked) != labels.shape[:1]:
        raise ValueError(f"leaked {np.shape(leaked)} must be as long as labels {labels.shape}")
    n, correct = len(labels), int(np.count_nonzero(are_right(labels, predicted)))
    confusion, counts = np.empty((0, 0)), None
    if labels.ndim == 1:
        confusion = confusion_matrix(labels, predicted, labels=np.arange(num_classes))
    else:
        counts = label_counts(labels, predicted)
    without_leaked = None
    if leaked is not None and leaked.any() and not leaked.all():
        rest = ~leaked
        without_leaked = split_metrics(
            labels[rest],
            predicted[rest],
            num_classes,
            metrics=metrics,
            probabilities=probabilities[rest] if probabilities is not None else None,
        )
    found = SplitMetrics(
        n=n,
        correct=correct,
        accuracy=correct / n,
        interval=wilson_interval(correct, n),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        loss=loss,
        without_leaked=without_leaked,
        label_counts=counts or (),
    )
    return with_metrics(found, metrics, labels, predicted, probabilities, num_classes)


def are_right(labels: Labels, predicted: Labels) -> NDArray[np.bool_]:
    """Whether each text (N,) is classified correctly, for multi-label data in all classes."""
    same: NDArray[np.bool_] = predicted == labels
    if same.ndim == 2:
        same = np.all(same, axis=1)
    return same


def label_counts(
    labels: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> tuple[LabelCounts, ...]:
    """The counts of each class, for labels and predictions (N, C)."""
    columns = ((labels & predicted), (~labels & predicted), (labels & ~predicted))
    counts = (each.sum(axis=0).tolist() for each in columns)
    return tuple(
        LabelCounts(both=both, only_predicted=false, only_labelled=missed)
        for both, false, missed in zip(*counts, strict=True)
    )


def with_metrics(
    split: SplitMetrics,
    metrics: Mapping[str, Metric],
    labels: Labels,
    predicted: Labels,
    probabilities: Probabilities | None,
    num_classes: int,
) -> SplitMetrics:
    """The metrics of a split with those that it lacks, without the undefined ones.

    ``probabilities`` are ``None`` for a classifier that predicts classes only.
    """
    fields: dict[str, float] = {}
    scores: dict[str, float] = {}
    for name, metric in metrics.items():
        seen = seen_by(metric, predicted, probabilities, num_classes)
        if read_metric(split, name) is None and seen is not None:
            with suppress(UndefinedMetricError):
                value = metric_value(name, metric, labels, seen)
                if name in FIELDS:
                    fields[FIELDS[name]] = value
                else:
                    scores[name] = value
    return replace(split, **fields, scores={**split.scores, **scores})


def seen_by(
    metric: Metric, predicted: Labels, probabilities: Probabilities | None, num_classes: int
) -> Probabilities | None:
    """What a metric computes from: the probabilities (N, C) if it needs them (``None`` if the
    classifier gives none), or else 1 for what is predicted and 0 for the rest."""
    return probabilities if metric.needs_probabilities else as_probabilities(predicted, num_classes)


def as_probabilities(predicted: Labels, num_classes: int) -> Probabilities:
    """1 for what is predicted and 0 for the rest, (N, C)."""
    return predicted.astype(np.float64) if predicted.ndim == 2 else np.eye(num_classes)[predicted]


def metric_value(name: str, metric: Metric, labels: Labels, probabilities: Probabilities) -> float:
    """The metric of ``probabilities`` (N, C) for ``labels`` (N,), or (N, C) bool.

    Raises:
        UndefinedMetricError: it is undefined for these labels, or for labels of this shape.
        PluginError: it fails, or does not return a number.
    """
    task: Task = "single-label" if labels.ndim == 1 else "multi-label"
    if task not in metric.tasks:
        raise UndefinedMetricError(f"the metric {name} is not defined for {task} data")
    dtype = np.int64 if task == "single-label" else np.bool_
    try:
        value = metric.compute(labels.astype(dtype, copy=False), probabilities)
        number = float(value)
    except ValueError as undefined:
        raise UndefinedMetricError(f"the metric {name} is undefined: {undefined}") from None
    except Exception as error:
        raise PluginError(f"metric {name} failed: {type(error).__name__}: {error}") from error
    if not math.isfinite(number):
        raise UndefinedMetricError(f"the metric {name} is undefined: it is {number}")
    return number


def refuse_undefined(
    metrics: Mapping[str, Metric], primary: str, labels: Mapping[str, Labels], num_classes: int
) -> None:
    """Check before training that every metric can be computed on these splits.

    Raises:
        UndefinedMetricError: the primary one is undefined on a split.
        PluginError: one fails.
    """
    for split, given in labels.items():
        for name, metric in metrics.items():
            equal = np.full((len(given), num_classes), 1 / num_classes)
            try:
                metric_value(name, metric, np.asarray(given), equal)
            except UndefinedMetricError as error:
                if name == primary:
                    raise UndefinedMetricError(
                        f"{error} ({split} split); choose another primary metric, such as "
                        "--metric accuracy, or another split"
                    ) from None
