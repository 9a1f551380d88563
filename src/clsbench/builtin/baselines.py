"""Baselines: what a classifier reaches without a neural network, in about a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

import clsbench


class Majority(clsbench.Baseline, frozen=True):
    """Always answers with the most frequent class of the training split."""

    def build(self) -> Any:
        """A dummy classifier; the first class wins where two are equally frequent."""
        from sklearn.dummy import DummyClassifier

        return DummyClassifier(strategy="most_frequent")


class TfidfLogreg(clsbench.Baseline, frozen=True):
    """Logistic regression on TF-IDF weighted words, with scikit-learn's defaults.

    Where no text holds a word of two letters or more, characters take the place of words.
    """

    ngrams: Annotated[
        int, Meta(ge=1, le=5, description="longest sequence of words that is a feature")
    ] = 1
    c: Annotated[
        float, Meta(gt=0, description="inverse strength of the regularisation (C in scikit-learn)")
    ] = 1.0

    def build(self) -> TfidfClassifier:
        """An estimator on raw texts; it draws nothing at random."""
        return TfidfClassifier(self.ngrams, self.c)


class TfidfClassifier:
    """A scikit-learn style estimator on raw texts that can be fitted to any non-empty texts."""

    def __init__(self, ngrams: int, c: float) -> None:
        """Hold the options; nothing is learned yet."""
        self.ngrams = ngrams
        self.c = c
        self._fitted: Any = None

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> TfidfClassifier:
        """Learn the vocabulary, the weights of its words and the regression."""
        from sklearn.dummy import DummyClassifier
        from sklearn.pipeline import make_pipeline

        vectoriser = self._vectoriser(texts)
        if vectoriser is None or len(set(labels)) < 2:
            self._fitted = DummyClassifier(strategy="most_frequent").fit(texts, labels)
            return self
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=self.c, max_iter=1000)
        self._fitted = make_pipeline(vectoriser, regression).fit(texts, labels)
        return self

    def predict(self, texts: Sequence[str]) -> Any:
        """The class of each text."""
        return self._fitted.predict(texts)

    def _vectoriser(self, texts: Sequence[str]) -> Any:
        """Words if there are any, else characters; ``None`` where every text is blank."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not any(text.strip() for text in texts):
            return None
        words = TfidfVectorizer(ngram_range=(1, self.ngrams))
        analyse = words.build_analyzer()
        if any(analyse(text) for text in texts):
            return words
        return TfidfVectorizer(analyzer="char", ngram_range=(1, self.ngrams))


@clsbench.hookimpl
def clsbench_register_baselines() -> dict[str, type[clsbench.Baseline]]:
    """The built-in baselines."""
    return {"majority": Majority, "tfidf-logreg": TfidfLogreg}
