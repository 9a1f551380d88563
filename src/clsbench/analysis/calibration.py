"""Calibration: how well a classifier's confidence matches its accuracy.

The confidence is the probability of the predicted class. Source: Guo et al., On Calibration of
Modern Neural Networks (2017), for the expected calibration error; Brier, Monthly Weather Review 78
(1950), for the score, which is summed over all classes and ranges from 0 to 2.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from clsbench.analysis.metrics import wilson_interval

BINS = 10
"""The number of bins, of equal width in confidence."""


class ReliabilityBin(NamedTuple):
    """The ``n`` texts with a confidence in (``low``, ``high``].

    ``confidence`` is their mean, ``accuracy`` the fraction classified correctly, and ``interval``
    Wilson's interval of the accuracy.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Expected calibration error and Brier score (0 is best for both), and the bins with texts.

    ``ece`` is the mean absolute difference between confidence and accuracy over ten bins of equal
    width, weighted by their texts. With few texts it is above 0 even for a calibrated classifier.
    """

    n: int
    ece: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


def calibration(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Calibration:
    """Calibration of ``probabilities`` (N, C), whose rows sum to 1, for ``labels`` (N,).

    Raises:
        ValueError: the shapes do not match, or there are no texts.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not labels.size:
        raise ValueError(
            f"labels {labels.shape} and probabilities {probabilities.shape} must be (N,) and (N, C)"
        )
    n, num_classes = probabilities.shape
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        count, correct = int(inside.sum()), int(right[inside].sum())
        bins.append(
            ReliabilityBin(
                low=float(edges[place]),
                high=float(edges[place + 1]),
                n=count,
                confidence=float(confidence[inside].mean()),
                accuracy=correct / count,
                interval=wilson_interval(correct, count),
            )
        )
    return Calibration(
        n=n,
        ece=sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / n,
        brier=float(((probabilities - np.eye(num_classes)[labels]) ** 2).sum(axis=1).mean()),
        bins=tuple(bins),
    )
