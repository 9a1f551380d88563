"""The metrics of a classifier on a whole split, and the interval of its accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from clsbench.schema.record import SplitMetrics

CONFIDENCE = 0.95
"""The level of every interval in a record."""

Labels = NDArray[np.integer]
"""Classes of texts (N,)."""


def matthews(labels: Labels, predicted: Labels) -> float:
    """Matthews correlation coefficient; 0 if all labels or all predictions are equal.

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), 367, for several classes.
    """
    from sklearn.metrics import matthews_corrcoef  # slow to load

    if np.unique([labels, predicted]).size < 2:  # undefined; scikit-learn would warn
        return 0.0
    return float(matthews_corrcoef(labels, predicted))


SCORES: Mapping[str, Callable[[Labels, Labels], float]] = {"mcc": matthews}
"""Further metrics by name, each a function of the true and the predicted labels."""


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
    loss: float | None = None,
    leaked: NDArray[np.bool_] | None = None,
) -> SplitMetrics:
    """The metrics of a classifier with these true and ``predicted`` labels.

    Both are integers below ``num_classes``. Macro F1 is the mean over the classes that ``labels``
    contains. ``leaked`` (N,) bool marks the texts that occur in the training split. If it marks
    some but not all, ``without_leaked`` holds the metrics on the others, except the loss, which is
    known for the whole split only.

    Raises:
        ValueError: the arrays are empty, differ in length or hold classes that do not exist.
    """
    from sklearn.metrics import confusion_matrix, f1_score  # slow to load

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
    classes = np.arange(num_classes)
    n, correct = int(labels.size), int(np.count_nonzero(labels == predicted))
    confusion = confusion_matrix(labels, predicted, labels=classes)
    present = np.unique(labels)
    macro_f1 = f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0)
    without_leaked = None
    if leaked is not None and leaked.any() and not leaked.all():
        without_leaked = split_metrics(labels[~leaked], predicted[~leaked], num_classes)
    return SplitMetrics(
        n=n,
        correct=correct,
        accuracy=correct / n,
        interval=wilson_interval(correct, n),
        macro_f1=float(macro_f1),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        loss=loss,
        scores={name: float(score(labels, predicted)) for name, score in SCORES.items()},
        without_leaked=without_leaked,
    )
