"""Choose the thresholds of multi-label predictions on the validation split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.5
"""The threshold of a class that no validation text has."""


def best_thresholds(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float64]
) -> tuple[float, ...]:
    """For each class the threshold with the highest F1 on ``labels`` and ``probabilities`` (N, C).

    A threshold lies in the middle between two probabilities that occur, or between the lowest and
    0. Of equally good ones it is that nearest to 0.5.
    """
    return tuple(
        _best(labels[:, column], probabilities[:, column]) for column in range(labels.shape[1])
    )


def _best(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    if not labels.any():
        return DEFAULT
    # From the highest probability down: the lowest that is predicted, and how many texts then are.
    lowest, counts = np.unique(-probabilities, return_counts=True)
    places = np.cumsum(counts)
    hits = np.cumsum(labels[np.argsort(-probabilities, kind="stable")])[places - 1]
    f1 = 2 * hits / (places + labels.sum())
    below = np.append(-lowest[1:], 0.0)
    middle = (below - lowest) / 2
    middle = np.where(middle > below, middle, -lowest)  # neighbouring floats have no middle
    best = np.flatnonzero(f1 == f1.max())
    return float(middle[best[np.abs(middle[best] - DEFAULT).argmin()]])
