"""Baselines: cheap classifiers that train in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

import clsbench
from clsbench.builtin.one_vs_rest import OneVsRest


class Majority(clsbench.Baseline, frozen=True):
    """Always predicts the most frequent class of the training split.

    For any number of labels per text: the labels that more than half of the texts have. The
    probability of a class is its share of the training texts.
    """

    tasks = ("single-label", "multi-label")

    def build(self, seed: int) -> OneVsRest:
        """An estimator; if classes are equally frequent, it predicts the first."""
        return OneVsRest(MajorityClassifier, _majority_from_state)

    def from_state(self, state: Mapping[str, Any]) -> OneVsRest:
        """The fitted estimator."""
        return self.build(0).restored(state)

    def title(self) -> str:
        """The title in reports."""
        return "the most frequent class"


def _majority_from_state(state: Mapping[str, Any]) -> MajorityClassifier:
    return MajorityClassifier(int(state["label"]))


class MajorityClassifier:
    """A scikit-learn style estimator that predicts one class."""

    def __init__(self, label: int | None = None) -> None:
        """Start with a known class, or without one before ``fit``."""
        self.label = label
        self.classes_: list[int] = []
        self._shares: list[float] = []

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> MajorityClassifier:
        """Find the most frequent class."""
        counts = Counter(map(int, labels))
        self.label = min(counts, key=lambda label: (-counts[label], label))
        self.classes_ = sorted(counts)
        self._shares = [counts[label] / len(labels) for label in self.classes_]
        return self

    def predict(self, texts: Sequence[str]) -> list[int | None]:
        """The class, repeated for each text."""
        return [self.label] * len(texts)

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """The shares of the classes among the training texts, repeated for each text."""
        import numpy as np

        return np.tile(self._shares, (len(texts), 1))

    def state(self) -> dict[str, int | None]:
        """The class."""
        return {"label": self.label}


class TfidfLogreg(clsbench.Baseline, frozen=True):
    """Logistic regression on TF-IDF weighted words and characters.

    For any number of labels per text: one regression for each label.
    """

    tasks = ("single-label", "multi-label")

    ngrams: Annotated[
        int, Meta(ge=1, le=5, description="longest sequence of words that is a feature")
    ] = 1
    c: Annotated[
        Annotated[float, Meta(gt=0)] | Literal["auto"],
        Meta(
            description="inverse regularization strength (C in scikit-learn); auto: chosen by "
            "cross-validation on the training split"
        ),
    ] = "auto"

    def build(self, seed: int) -> Any:
        """An estimator on raw texts; ``seed`` shuffles the folds of the cross-validation."""
        from clsbench.builtin.tfidf import TfidfClassifier  # brings scikit-learn

        return OneVsRest(
            lambda: TfidfClassifier(self.ngrams, self.c, seed), TfidfClassifier.from_state
        )

    def from_state(self, state: Mapping[str, Any]) -> Any:
        """The fitted estimator."""
        return self.build(0).restored(state)

    def title(self) -> str:
        """The title in reports."""
        return "TF-IDF + logistic regression"


class FrozenLogreg(clsbench.Baseline, frozen=True):
    """Logistic regression on the pooled features of the run's frozen backbone.

    For any number of labels per text: one regression for each label.
    """

    inputs: ClassVar[Literal["pooled-features"]] = "pooled-features"
    tasks = ("single-label", "multi-label")

    c: Annotated[
        Annotated[float, Meta(gt=0)] | Literal["auto"],
        Meta(
            description="inverse regularization strength (C in scikit-learn) on standardized "
            "features; auto: chosen on the validation split"
        ),
    ] = "auto"

    def build(self, seed: int) -> Any:
        """An estimator on features; it draws no random numbers."""
        from clsbench.builtin.frozen_logreg import FeatureClassifier  # brings scikit-learn

        return OneVsRest(lambda: FeatureClassifier(self.c), FeatureClassifier.from_state)

    def from_state(self, state: Mapping[str, Any]) -> Any:
        """The fitted estimator."""
        return self.build(0).restored(state)

    def title(self) -> str:
        """The title in reports."""
        return "frozen features + logistic regression"


@clsbench.hookimpl
def clsbench_register_baselines() -> dict[str, type[clsbench.Baseline]]:
    """The built-in baselines."""
    return {"majority": Majority, "tfidf-logreg": TfidfLogreg, "frozen-logreg": FrozenLogreg}
