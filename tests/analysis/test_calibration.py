"""Calibration, compared with scikit-learn, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from clsbench.analysis.calibration import calibration


def test_calibration_of_four_texts_agrees_with_a_calculation_by_hand() -> None:
    """Two texts at 0.9, one of them correct; two at 0.6, both correct."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = calibration(np.array([0, 1, 1, 1]), probabilities)
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)
    assert [(b.n, b.accuracy) for b in found.bins] == [(2, 1.0), (2, 0.5)]
    assert [(b.low, b.high) for b in found.bins] == [
        pytest.approx((0.5, 0.6)),
        pytest.approx((0.8, 0.9)),
    ]


def test_calibration_of_two_classes_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    spam = generator.uniform(0, 1, 500)
    labels = (generator.uniform(0, 1, 500) < spam**2).astype(int)
    found = calibration(labels, np.column_stack([1 - spam, spam]))
    # Scikit-learn's score includes one of the two classes only.
    assert found.brier == pytest.approx(2 * brier_score_loss(labels, spam))
    confidence = np.maximum(spam, 1 - spam)
    right = (spam > 0.5) == labels
    accuracies, confidences = calibration_curve(right, confidence, n_bins=10)
    assert [b.accuracy for b in found.bins] == pytest.approx(list(accuracies))
    assert [b.confidence for b in found.bins] == pytest.approx(list(confidences))


def test_calibration_of_a_calibrated_classifier_has_a_small_error() -> None:
    """The error shrinks with the number of texts, and the intervals contain the confidence."""
    generator = np.random.default_rng(1)
    errors = []
    for n in (300, 30_000):
        probabilities = generator.dirichlet([1, 1, 1], n)
        labels = (generator.uniform(0, 1, (n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        found = calibration(labels, probabilities)
        errors.append(found.ece)
        held = [b.interval[0] <= b.confidence <= b.interval[1] for b in found.bins]
        assert sum(held) >= len(held) - 1
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.01


def test_calibration_mismatched_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        calibration(np.array([0, 1]), np.array([[0.5, 0.5]]))
