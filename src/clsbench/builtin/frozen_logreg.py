"""Logistic regression on standardized features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from clsbench.builtin.linear_scores import of_every_class

_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Candidates for C; the smallest is used if several have the same loss."""

_ITERATIONS = 10_000
_SMALLEST_PROBABILITY = 1e-15


class FeatureClassifier:
    """A scikit-learn style estimator on features (N, H), standardized on the training texts.

    With ``c="auto"``, C is the candidate with the smallest log-loss on the validation texts. The
    solver runs until it has converged.
    """

    def __init__(self, c: float | str) -> None:
        """Store the option."""
        self.c = c
        self.classes_ = np.zeros(0, dtype=np.int64)
        self._coefficients = np.zeros((0, 0))
        self._intercepts = np.zeros(0)

    def fit(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        validation_features: NDArray[np.float32],
        validation_labels: NDArray[np.int64],
    ) -> FeatureClassifier:
        """Fit the regression; raises ConvergenceWarning if the solver does not converge."""
        self.classes_ = np.unique(labels)
        if len(self.classes_) == 1:
            self._coefficients = np.zeros((1, features.shape[1]))
            self._intercepts = np.zeros(1)
            return self
        exact = features.astype(np.float64)
        mean, spread = exact.mean(axis=0), exact.std(axis=0)
        spread[spread == 0] = 1.0
        train = (exact - mean) / spread
        validation = (validation_features.astype(np.float64) - mean) / spread
        # The sums of several BLAS threads differ in their last bits from those of one.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            candidates = _STRENGTHS if self.c == "auto" else (float(self.c),)
            fitted = [
                LogisticRegression(C=c, max_iter=_ITERATIONS).fit(train, labels) for c in candidates
            ]
            losses = [_log_loss(each, validation, validation_labels) for each in fitted]
        best = fitted[int(np.argmin(losses))]
        # As a function of the features as they come, so that the state is complete.
        self._coefficients = best.coef_ / spread
        self._intercepts = best.intercept_ - self._coefficients @ mean
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """The class of each row (N,), the first of those with equal scores."""
        places: NDArray[np.int64] = self._scores(features).argmax(axis=1)
        return self.classes_[places]

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of each class (N, C)."""
        probabilities: NDArray[np.float64] = softmax(self._scores(features), axis=1)
        return probabilities

    def _scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score of each class (N, C)."""
        # Row by row, so that a text's scores do not depend on the other texts.
        exact = features.astype(np.float64)
        scores = np.stack([self._coefficients @ row for row in exact]) + self._intercepts
        return of_every_class(scores, len(self.classes_))

    def state(self) -> dict[str, Any]:
        """The fitted values."""
        return {
            "classes": self.classes_,
            "coefficients": self._coefficients,
            "intercepts": self._intercepts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FeatureClassifier:
        """The fitted estimator whose :meth:`state` returned ``state``."""
        self = cls("auto")
        self.classes_ = state["classes"]
        self._coefficients, self._intercepts = state["coefficients"], state["intercepts"]
        return self


def _log_loss(regression: Any, features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    places = {label: place for place, label in enumerate(regression.classes_.tolist())}
    probabilities = regression.predict_proba(features)
    known = [
        row[places[label]] if label in places else 0.0
        for row, label in zip(probabilities, map(int, labels), strict=True)
    ]
    return float(-np.log(np.maximum(known, _SMALLEST_PROBABILITY)).sum())
