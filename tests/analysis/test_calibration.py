"""Calibration: against scikit-learn, by hand, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from clsbench.analysis.calibration import calibration


def test_by_hand() -> None:
    """Two answers at 0.9, one of them right; two at 0.6, both right."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = calibration(np.array([0, 1, 1, 1]), probabilities)
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)
    assert [(b.n, b.accuracy) for b in found.bins] == [(2, 1.0), (2, 0.5)]
    assert [(b.low, b.high) for b in found.bins] == [
        pytest.approx((0.5, 0.6)),
        pytest.approx((0.8, 0.9)),
    ]


def test_two_classes_as_scikit_learn_has_them() -> None:
    generator = np.random.default_rng(0)
    spam = generator.uniform(0, 1, 500)
    labels = (generator.uniform(0, 1, 500) < spam**2).astype(int)
    found = calibration(labels, np.column_stack([1 - spam, spam]))
    # Scikit-learn's score counts one of the two classes.
    assert found.brier == pytest.approx(2 * brier_score_loss(labels, spam))
    confidence = np.maximum(spam, 1 - spam)
    right = (spam > 0.5) == labels
    accuracies, confidences = calibration_curve(right, confidence, n_bins=10)
    assert [b.accuracy for b in found.bins] == pytest.approx(list(accuracies))
    assert [b.confidence for b in found.bins] == pytest.approx(list(confidences))


def test_a_classifier_that_is_right_as_often_as_it_says() -> None:
    """Its error shrinks with the number of texts, and each bin's interval holds its confidence."""
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


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        calibration(np.array([0, 1]), np.array([[0.5, 0.5]]))
