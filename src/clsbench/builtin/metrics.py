"""Metrics of a classifier's predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import clsbench

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64] | NDArray[np.bool_]
    Probabilities = NDArray[np.float64]

_ONE_CLASS = "all texts have the same class"
_NO_LABEL = "no text has a label"

_BINS = 10
"""The number of bins of the calibration error, of equal width in confidence."""


_BOTH: tuple[clsbench.Task, ...] = ("single-label", "multi-label")


def _present(labels: Labels) -> NDArray[np.int64]:
    """The classes that some text has."""
    import numpy as np

    classes = np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
    return classes.astype(np.int64)


def _predicted(labels: Labels, probabilities: Probabilities) -> Labels:
    """The most probable class (N,); for multi-label data whether each is predicted (N, C)."""
    found: Labels = probabilities.argmax(axis=1) if labels.ndim == 1 else probabilities >= 0.5
    return found


class _Counts(NamedTuple):
    """The numbers of texts by class (C,), float64: with it as label and prediction, with it as
    prediction, and with it as label."""

    both: Probabilities
    predicted: Probabilities
    labelled: Probabilities


def _counts(labels: Labels, probabilities: Probabilities) -> _Counts:
    """Counts for metrics that are computed thousands of times, for bootstrap intervals."""
    import numpy as np

    predicted = _predicted(labels, probabilities)
    if labels.ndim == 1:
        chosen = (labels[labels == predicted], predicted, labels)
        found = [np.bincount(each, minlength=probabilities.shape[1]) for each in chosen]
    else:
        found = [each.sum(axis=0) for each in (labels & predicted, predicted, labels)]
    return _Counts(*(each.astype(np.float64) for each in found))


def _one_against_rest(
    labels: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.int64], Probabilities]:
    """Whether each text has each class that some text has, and the probability of that class."""
    import numpy as np

    classes = _present(labels)
    if labels.ndim == 2:
        if not classes.size:
            raise ValueError(_NO_LABEL)
        return labels[:, classes].astype(np.int64), probabilities[:, classes]
    if classes.size < 2:
        raise ValueError(_ONE_CLASS)
    return (labels[:, np.newaxis] == classes).astype(np.int64), probabilities[:, classes]


class Accuracy(clsbench.Metric, frozen=True):
    """Share of the texts classified correctly; with several labels, in all of them."""

    header = "accuracy"
    tasks = _BOTH
    unit = "%"
    decimals = 2
    needs_probabilities = False

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The share of texts whose most probable class is theirs, or whose labels all agree."""
        right = _predicted(labels, probabilities) == labels
        return float((right if right.ndim == 1 else right.all(axis=1)).mean())


class BalancedAccuracy(clsbench.Metric, frozen=True):
    """Mean over the classes of the share of their texts classified correctly."""

    header = "balanced accuracy"
    unit = "%"
    decimals = 2
    needs_probabilities = False
    priority = 42

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean recall of the classes that some text has."""
        counts = _counts(labels, probabilities)
        present = counts.labelled > 0
        return float((counts.both[present] / counts.labelled[present]).mean())


class MacroF1(clsbench.Metric, frozen=True):
    """Mean over the classes of the harmonic mean of precision and recall."""

    header = "macro F1"
    tasks = _BOTH
    needs_probabilities = False
    priority = 40
    summary = False

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean F1 of the classes that some text has."""
        counts = _counts(labels, probabilities)
        present = counts.labelled > 0
        if not present.any():
            raise ValueError(_NO_LABEL)
        f1 = 2 * counts.both[present] / (counts.predicted[present] + counts.labelled[present])
        return float(f1.mean())


class MicroF1(clsbench.Metric, frozen=True):
    """Harmonic mean of precision and recall over all texts; with one class each, the accuracy."""

    header = "micro F1"
    tasks = _BOTH
    needs_probabilities = False
    priority = 25

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The F1 of true and false positives summed over all classes."""
        counts = _counts(labels, probabilities)
        if not counts.labelled.any():
            raise ValueError(_NO_LABEL)
        total = counts.predicted.sum() + counts.labelled.sum()
        return float(2 * counts.both.sum() / total)


class MatthewsCorrelation(clsbench.Metric, frozen=True):
    """Matthews correlation coefficient (1 is perfect, 0 is chance, -1 is the opposite).

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), 367, for several classes.
    """

    header = "MCC"
    limits = (-1.0, 1.0)
    needs_probabilities = False
    priority = 45
    summary = False

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The coefficient; 0 if all labels or all predictions are equal."""
        both, predicted, labelled = _counts(labels, probabilities)
        texts = float(labels.size)
        spread = (texts**2 - predicted @ predicted) * (texts**2 - labelled @ labelled)
        covariance = both.sum() * texts - predicted @ labelled
        return float(covariance / math.sqrt(spread)) if spread else 0.0


class RocAuc(clsbench.Metric, frozen=True):
    """Area under the ROC curve, the mean over the classes of each against the rest."""

    header = "ROC AUC"
    priority = 43

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean over the classes that some text has; undefined if that is one class."""
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(*_one_against_rest(labels, probabilities), average="macro"))


class AveragePrecision(clsbench.Metric, frozen=True):
    """Average precision, the mean over the classes of each against the rest."""

    header = "average precision"
    tasks = _BOTH
    priority = 35

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean over the classes that some text has."""
        from sklearn.metrics import average_precision_score

        ranked = _one_against_rest(labels, probabilities)
        return float(average_precision_score(*ranked, average="macro"))


class LogLoss(clsbench.Metric, frozen=True):
    """Mean cross-entropy in nats; with several labels, the mean over texts and labels."""

    header = "loss"
    tasks = _BOTH
    better = "lower"
    limits = (0.0, math.inf)
    unit = "nats"
    priority = 50
    summary = False

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean of −log of the probability of each text's class, or of each of its labels."""
        import numpy as np

        if labels.ndim == 2:
            found = np.where(labels, probabilities, 1 - probabilities).ravel()
        else:
            # Rows of a float32 softmax sum to 1 only nearly.
            exact = probabilities / probabilities.sum(axis=1, keepdims=True)
            found = exact[np.arange(labels.size), labels]
        smallest = np.finfo(np.float64).eps  # as in scikit-learn
        return float(-np.log(found.clip(smallest, 1 - smallest)).mean())


class Brier(clsbench.Metric, frozen=True):
    """Mean squared distance of the probabilities from the true class (0 is best, 2 is worst).

    Source: Brier, Monthly Weather Review 78 (1950); summed over the classes.
    """

    header = "Brier"
    meaning = (
        "Mean squared difference between the probabilities and the true class, summed over the "
        "classes (0 is best, 2 is worst)."
    )
    better = "lower"
    limits = (0.0, 2.0)
    decimals = 3
    priority = 10

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean over the texts of the squares summed over the classes."""
        import numpy as np

        distance = probabilities - np.eye(probabilities.shape[1])[labels]
        return float((distance**2).sum(axis=1).mean())


class CalibrationError(clsbench.Metric, frozen=True):
    """Expected calibration error: mean distance of confidence from accuracy in ten bins.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017).
    """

    header = "calibration error"
    meaning = (
        "Expected calibration error: mean absolute difference between confidence and accuracy in "
        "ten bins (0 is best)."
    )
    better = "lower"
    decimals = 3
    priority = 20

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The difference in each bin, weighted by its share of the texts."""
        import numpy as np

        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        edges = np.linspace(0, 1, _BINS + 1)
        bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, _BINS - 1)
        total = 0.0
        for each in np.unique(bins):
            inside = bins == each
            accuracy = int(right[inside].sum()) / int(inside.sum())
            total += int(inside.sum()) * abs(float(confidence[inside].mean()) - accuracy)
        return total / labels.size


@clsbench.hookimpl
def clsbench_register_metrics() -> Mapping[str, type[clsbench.Metric]]:
    """Metrics by name."""
    return {
        "accuracy": Accuracy,
        "balanced-accuracy": BalancedAccuracy,
        "macro-f1": MacroF1,
        "micro-f1": MicroF1,
        "mcc": MatthewsCorrelation,
        "roc-auc": RocAuc,
        "average-precision": AveragePrecision,
        "log-loss": LogLoss,
        "brier": Brier,
        "ece": CalibrationError,
    }
