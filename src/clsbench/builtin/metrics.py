"""Metrics of a classifier's predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
        from sklearn.metrics import recall_score

        predicted = probabilities.argmax(axis=1)
        return float(recall_score(labels, predicted, labels=_present(labels), average="macro"))


class MacroF1(clsbench.Metric, frozen=True):
    """Mean over the classes of the harmonic mean of precision and recall."""

    header = "macro F1"
    tasks = _BOTH
    needs_probabilities = False
    priority = 40
    summary = False

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The mean F1 of the classes that some text has."""
        from sklearn.metrics import f1_score

        predicted, present = _predicted(labels, probabilities), _present(labels)
        if not present.size:
            raise ValueError(_NO_LABEL)
        return float(
            f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0)
        )


class MicroF1(clsbench.Metric, frozen=True):
    """Harmonic mean of precision and recall over all texts; with one class each, the accuracy."""

    header = "micro F1"
    tasks = _BOTH
    needs_probabilities = False
    priority = 25

    def compute(self, labels: Labels, probabilities: Probabilities) -> float:
        """The F1 of true and false positives summed over all classes."""
        from sklearn.metrics import f1_score

        if not _present(labels).size:
            raise ValueError(_NO_LABEL)
        predicted = _predicted(labels, probabilities)
        return float(f1_score(labels, predicted, average="micro", zero_division=0.0))


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
        import numpy as np
        from sklearn.metrics import matthews_corrcoef

        predicted = probabilities.argmax(axis=1)
        if np.unique([labels, predicted]).size < 2:  # scikit-learn would warn
            return 0.0
        return float(matthews_corrcoef(labels, predicted))


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
        from sklearn.metrics import log_loss

        if labels.ndim == 2:
            two = np.stack([1 - probabilities.ravel(), probabilities.ravel()], axis=1)
            return float(log_loss(labels.ravel(), two, labels=[False, True]))
        # Rows of a float32 softmax sum to 1 only nearly, of which scikit-learn would warn.
        exact = probabilities / probabilities.sum(axis=1, keepdims=True)
        return float(log_loss(labels, exact, labels=np.arange(probabilities.shape[1])))


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
