"""Logistic regression on pooled features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clsbench.builtin import frozen_logreg
from clsbench.builtin.frozen_logreg import FeatureClassifier


def features(n: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Overlapping classes in eight dimensions of very different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centers = np.random.default_rng(0).normal(size=(classes, 8))
    values = centers[labels] + 1.5 * random.normal(size=(n, 8))
    scales = 10.0 ** np.arange(-3, 5)
    return (values * scales + 7 * scales).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3])
def test_feature_classifier_equals_scikit_learn_with_the_best_c_on_validation(
    classes: int,
) -> None:
    train, validation, test = (features(120, classes, seed) for seed in range(3))
    fitted = {}
    for c in frozen_logreg._STRENGTHS:
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=10_000))
        pipeline.fit(train[0].astype(np.float64), train[1])
        probabilities = pipeline.predict_proba(validation[0].astype(np.float64))
        fitted[log_loss(validation[1], probabilities)] = pipeline
    best = fitted[min(fitted)]
    assert fitted[max(fitted)].steps[-1][1].C != best.steps[-1][1].C
    ours = FeatureClassifier("auto").fit(*train, *validation)
    expected = best.predict(test[0].astype(np.float64))
    assert (ours.predict(test[0]) == expected).all()
    np.testing.assert_allclose(
        ours.predict_proba(test[0]), best.predict_proba(test[0].astype(np.float64)), atol=1e-6
    )
    assert len(set(expected)) == classes


def test_feature_classifier_given_c_is_used() -> None:
    train, validation = features(60, 2, 0), features(60, 2, 1)
    weak, strong = (
        FeatureClassifier(c).fit(*train, *validation)._coefficients for c in (1e-4, 10.0)
    )
    assert np.abs(weak).max() < np.abs(strong).max()


def test_feature_classifier_single_training_class_is_always_predicted() -> None:
    values, _ = features(10, 2, 0)
    fitted = FeatureClassifier("auto").fit(values, np.full(10, 3), values, np.arange(10) % 2)
    restored = FeatureClassifier.from_state(fitted.state())
    assert restored.predict(values).tolist() == [3] * 10


def test_feature_classifier_constant_feature_and_unknown_validation_class_are_accepted() -> None:
    values, labels = features(60, 2, 0)
    values[:, 2] = 5.0
    fitted = FeatureClassifier("auto").fit(values, labels, values, np.arange(60) % 3)
    assert (fitted.predict(values) == labels).mean() > 0.6


def test_feature_classifier_unconverged_solver_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frozen_logreg, "_ITERATIONS", 1)
    with pytest.raises(ConvergenceWarning):
        FeatureClassifier(10.0).fit(*features(60, 2, 0), *features(60, 2, 1))
