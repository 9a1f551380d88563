"""The metrics of a classifier on a whole split, and the interval of its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from clsbench.analysis.figures import FIELDS, read_metric
from clsbench.components.metric import Metric
from clsbench.errors import PluginError, UndefinedMetricError
from clsbench.schema.record import SplitMetrics

CONFIDENCE = 0.95
"""The level of every interval in a record."""

Labels = NDArray[np.integer]
"""Classes of texts (N,)."""

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

    Both are integers below ``num_classes``; ``probabilities`` (N, C) are ``None`` for a classifier
    that gives none. ``metrics`` by name are computed besides the accuracy; ``loss``, if known,
    replaces ``log-loss``. ``leaked`` (N,) bool marks the texts that occur in the training split. If
    it marks some but not all, ``without_leaked`` holds the metrics on the others.

    Raises:
        ValueError: the arrays are empty, differ in length or hold classes that do not exist.
        PluginError: a metric fails.
    """
    from sklearn.metrics import confusion_matrix  # slow to load

    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape or not labels.size:
        raise ValueError(
            f"labels {labels.shape} and predicted {predicted.shape} must be equally long, (N,)"
        )
    for name, values in (("labels", labels), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(f"{name} must lie between 0 and {num_classes - 1}")
    if leaked is not None and np.shape(leaked) != labels.shape:
        raise ValueError(f"leaked {np.shape(leaked)} must be as long as labels {labels.shape}")
    n, correct = int(labels.size), int(np.count_nonzero(labels == predicted))
    confusion = confusion_matrix(labels, predicted, labels=np.arange(num_classes))
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
    )
    given = one_hot(predicted, num_classes) if probabilities is None else probabilities
    return with_metrics(found, metrics, labels, given, of_labels=probabilities is None)


def with_metrics(
    split: SplitMetrics,
    metrics: Mapping[str, Metric],
    labels: Labels,
    probabilities: Probabilities,
    of_labels: bool = False,
) -> SplitMetrics:
    """The metrics of a split with those that it lacks, without the undefined ones.

    ``of_labels``: the probabilities are those of a classifier that predicts classes only.
    """
    fields: dict[str, float] = {}
    scores: dict[str, float] = {}
    for name, metric in metrics.items():
        if read_metric(split, name) is None and not (of_labels and metric.needs_probabilities):
            with suppress(UndefinedMetricError):
                value = metric_value(name, metric, labels, probabilities)
                if name in FIELDS:
                    fields[FIELDS[name]] = value
                else:
                    scores[name] = value
    return replace(split, **fields, scores={**split.scores, **scores})


def one_hot(predicted: Labels, num_classes: int) -> Probabilities:
    """The probabilities (N, C) of a classifier that predicts classes only: 1 for that class."""
    return np.eye(num_classes)[predicted]


def metric_value(name: str, metric: Metric, labels: Labels, probabilities: Probabilities) -> float:
    """The metric of ``probabilities`` (N, C) for ``labels`` (N,).

    Raises:
        UndefinedMetricError: it is undefined for these labels.
        PluginError: it fails, or does not return a number.
    """
    try:
        value = metric.compute(labels.astype(np.int64, copy=False), probabilities)
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
