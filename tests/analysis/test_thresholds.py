"""Thresholds of multi-label predictions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from clsbench.analysis.thresholds import best_thresholds

texts = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=12)


@given(texts)
def test_best_thresholds_has_the_highest_f1_of_all(found: list[tuple[bool, float]]) -> None:
    labels = np.array([[label] for label, _ in found])
    probabilities = np.array([[p] for _, p in found])
    (threshold,) = best_thresholds(labels, probabilities)
    if not labels.any():
        assert threshold == 0.5
        return
    scores = [
        f1_score(labels, probabilities >= each, zero_division=0.0)
        for each in (threshold, *probabilities[:, 0])
    ]
    assert scores[0] == max(scores)


def test_best_thresholds_lie_between_probabilities_and_are_chosen_for_each_class() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 1]], dtype=bool)
    probabilities = np.array([[0.9, 0.9, 0.1], [0.6, 0.1, 0.7], [0.2, 0.2, 0.9], [0.1, 0.3, 0.3]])
    assert best_thresholds(labels, probabilities) == (0.4, 0.5, 0.2)


def test_best_thresholds_of_neighbouring_probabilities_separate_them() -> None:
    low = 0.25
    high = float(np.nextafter(low, 1))
    (threshold,) = best_thresholds(np.array([[True], [False]]), np.array([[high], [low]]))
    assert low < threshold <= high


def test_best_thresholds_equally_good_takes_the_one_nearest_to_a_half() -> None:
    labels = np.array([[True], [True], [False], [True], [False]])
    probabilities = np.array([[0.99], [0.98], [0.97], [0.96], [0.02]])
    # Without the last text with the label F1 is 4/5; with it 6/7, and the middle below is 0.49.
    assert best_thresholds(labels, probabilities) == (0.49,)
