"""The scores of a linear classifier, as scikit-learn arranges them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def of_every_class(scores: NDArray[np.float64], num_classes: int) -> NDArray[np.float64]:
    """The score of each class (N, C), of which the probabilities are the softmax.

    Of two classes, ``scores`` (N, 1) may hold that of the second alone: that of the first is 0.
    """
    if num_classes == 2 and scores.shape[1] == 1:
        return np.hstack([np.zeros_like(scores), scores])
    return scores
