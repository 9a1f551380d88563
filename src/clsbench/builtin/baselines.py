"""Baselines: what a classifier reaches without a neural network, in about a second."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

import clsbench


class Majority(clsbench.Baseline, frozen=True):
    """Always answers with the most frequent class of the training split."""

    def build(self, seed: int) -> Any:
        """A dummy classifier; the first class wins where two are equally frequent."""
        from sklearn.dummy import DummyClassifier

        return DummyClassifier(strategy="most_frequent")


class TfidfLogreg(clsbench.Baseline, frozen=True):
    """Logistic regression on TF-IDF weighted words and characters."""

    ngrams: Annotated[
        int, Meta(ge=1, le=5, description="longest sequence of words that is a feature")
    ] = 1
    c: Annotated[
        Annotated[float, Meta(gt=0)] | Literal["auto"],
        Meta(
            description="inverse strength of the regularization (C in scikit-learn); auto: by "
            "cross-validation on the training split"
        ),
    ] = "auto"

    def build(self, seed: int) -> Any:
        """An estimator on raw texts; ``seed`` shuffles the folds of the cross-validation."""
        from clsbench.builtin.tfidf import TfidfClassifier  # brings scikit-learn

        return TfidfClassifier(self.ngrams, self.c, seed)


@clsbench.hookimpl
def clsbench_register_baselines() -> dict[str, type[clsbench.Baseline]]:
    """The built-in baselines."""
    return {"majority": Majority, "tfidf-logreg": TfidfLogreg}
