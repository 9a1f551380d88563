"""TF-IDF weighted n-grams of words and characters, and logistic regression on them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from clsbench.builtin.linear_scores import of_every_class

_CHARACTERS = 3
"""The longest sequence of characters that is a feature."""

_CHARACTER_WEIGHTS = (1.0, 4.0)
"""Candidates for the weight of single characters; a larger one helps if they carry the signal."""

_STRENGTHS = (1.0, 0.1, 10.0, 100.0, 1000.0)
"""Candidates for C; the first is used if several have the same loss."""

_SINGLE = "characters"
_FOLDS = 3
_MOST_VALIDATED = 2_000
"""The most texts in the cross-validation; more do not change its choice."""

_MOST_WORK = 10_000_000
"""Features of these texts, times the scores of a text: bounds the time for long texts of many
classes."""

_FEWEST_VALIDATED = 100

_SMALLEST_PROBABILITY = 1e-15
_ITERATIONS = 1000


class _Chosen(NamedTuple):
    """The weight of single characters, and C."""

    character_weight: float
    c: float


class TfidfClassifier:
    """A scikit-learn style estimator on raw texts that can be fitted to any texts and labels.

    Three groups of features, each scaled to unit length: n-grams of up to ``ngrams`` words, single
    characters, and n-grams of two or three characters. Characters keep their case.
    With ``c="auto"``, C and the weight of the single characters are those with the smallest
    log-loss in a 3-fold cross-validation; ``seed`` shuffles the folds.

    If no text has a feature, or all have the same class, it predicts the most frequent class.
    """

    def __init__(self, ngrams: int, c: float | str, seed: int) -> None:
        """Store the options."""
        self.ngrams = ngrams
        self.c = c
        self.seed = seed
        self._groups: dict[str, Any] = {}
        self._character_weight = 1.0
        self.classes_ = np.zeros(0, dtype=np.int64)
        self._coefficients = np.zeros((0, 0))
        self._intercepts = np.zeros(0)

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> TfidfClassifier:
        """Fit the vocabulary, the IDF weights and the regression."""
        targets = np.asarray(labels, dtype=np.int64)
        self.classes_, counts = np.unique(targets, return_counts=True)
        self._groups = dict(self._vectorizers(texts)) if len(self.classes_) > 1 else {}
        if not self._groups:
            self._coefficients = np.zeros((len(self.classes_), 0))
            self._intercepts = np.log(counts)
            return self
        features = {name: each.fit_transform(texts) for name, each in self._groups.items()}
        # The sums of several BLAS threads differ in their last bits from those of one.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            chosen = self._chosen(features, targets)
            regression = _fitted(_joined(features, chosen.character_weight), targets, chosen.c)
        self._character_weight = chosen.character_weight
        self._coefficients, self._intercepts = regression.coef_, regression.intercept_
        return self

    def predict(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The class of each text (N,), the first of those with equal scores."""
        places: NDArray[np.int64] = self._scores(texts).argmax(axis=1)
        return self.classes_[places]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each class (N, C); their shares if no training text has a feature."""
        probabilities: NDArray[np.float64] = softmax(self._scores(texts), axis=1)
        return probabilities

    def _scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The score of each class (N, C)."""
        if not self._groups:
            return np.tile(self._intercepts, (len(texts), 1))
        features = {name: each.transform(texts) for name, each in self._groups.items()}
        scores = _joined(features, self._character_weight) @ self._coefficients.T
        return of_every_class(scores + self._intercepts, len(self.classes_))

    def state(self) -> dict[str, Any]:
        """The fitted values, and the options that turn texts into features."""
        state: dict[str, Any] = {
            "ngrams": self.ngrams,
            "character_weight": self._character_weight,
            "classes": self.classes_,
            "coefficients": self._coefficients,
            "intercepts": self._intercepts,
            "groups": list(self._groups),
        }
        for name, vectorizer in self._groups.items():
            state[f"{name}.vocabulary"] = vectorizer.get_feature_names_out().tolist()
            if vectorizer.use_idf:
                state[f"{name}.idf"] = vectorizer.idf_
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TfidfClassifier:
        """The fitted estimator whose :meth:`state` returned ``state``."""
        self = cls(state["ngrams"], "auto", 0)
        self._character_weight = state["character_weight"]
        self.classes_ = state["classes"]
        self._coefficients, self._intercepts = state["coefficients"], state["intercepts"]
        for name in state["groups"]:
            vectorizer = _vectorizers(self.ngrams)[name]
            vectorizer.set_params(vocabulary=state[f"{name}.vocabulary"]).fit([""])
            if vectorizer.use_idf:
                vectorizer.idf_ = state[f"{name}.idf"]
            self._groups[name] = vectorizer
        return self

    def _vectorizers(self, texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """By name, the groups of which some text has a feature; blank texts have none."""
        if not any(text.strip() for text in texts):
            return
        for name, vectorizer in _vectorizers(self.ngrams).items():
            analyze = vectorizer.build_analyzer()
            if any(analyze(text) for text in texts):
                yield name, vectorizer

    def _chosen(self, features: dict[str, Any], labels: NDArray[np.int64]) -> _Chosen:
        """The given C, or the candidate with the smallest log-loss on the held-out texts."""
        if self.c != "auto":
            return _Chosen(1.0, float(self.c))
        per_text = sum(each.nnz for each in features.values()) / len(labels)
        most = validated_texts(per_text, len(self.classes_))
        order = np.random.default_rng(self.seed).permutation(len(labels))[:most]
        order = order[labels[order].argsort(kind="stable")]
        fold = np.arange(len(order)) % _FOLDS  # deals the texts of every class in turn
        best, smallest = _Chosen(1.0, 1.0), np.inf
        for weight in _CHARACTER_WEIGHTS:
            joined = _joined(features, weight)[order]
            for c in _STRENGTHS:
                loss = sum(_log_loss(joined, labels[order], fold == n, c) for n in range(_FOLDS))
                if loss < smallest:
                    best, smallest = _Chosen(weight, c), loss
        return best


def _vectorizers(ngrams: int) -> dict[str, Any]:
    return {
        "words": TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True),
        # Without IDF: the few characters that distinguish classes may be frequent ones.
        _SINGLE: TfidfVectorizer(
            analyzer="char", lowercase=False, sublinear_tf=True, use_idf=False
        ),
        "sequences": TfidfVectorizer(
            analyzer="char", ngram_range=(2, _CHARACTERS), lowercase=False, sublinear_tf=True
        ),
    }


def validated_texts(features_per_text: float, classes: int) -> int:
    """How many texts take part in the cross-validation."""
    work = features_per_text * (1 if classes == 2 else classes)
    return int(min(max(_MOST_WORK / work, _FEWEST_VALIDATED), _MOST_VALIDATED))


def _joined(features: dict[str, Any], character_weight: float) -> Any:
    weighted = [
        each * character_weight if name == _SINGLE else each for name, each in features.items()
    ]
    return scipy.sparse.hstack(weighted, format="csr")


def _fitted(features: Any, labels: NDArray[np.int64], c: float) -> Any:
    return LogisticRegression(C=c, max_iter=_ITERATIONS).fit(features, labels)


def _log_loss(
    features: Any, labels: NDArray[np.int64], held_out: NDArray[np.bool_], c: float
) -> float:
    """Summed over the held-out texts; 0 for any ``c`` if the other texts have one class."""
    if len(np.unique(labels[~held_out])) < 2 or not held_out.any():
        return 0.0
    regression = _fitted(features[~held_out], labels[~held_out], c)
    probabilities = regression.predict_proba(features[held_out])
    places = {label: place for place, label in enumerate(regression.classes_)}
    loss = 0.0
    for row, label in zip(probabilities, labels[held_out], strict=True):
        known = row[places[label]] if label in places else 0.0
        loss -= float(np.log(max(known, _SMALLEST_PROBABILITY)))
    return loss
