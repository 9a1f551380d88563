"""``check_baseline``: what it accepts and refuses."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from broken_components import complaint

import clsbench
from clsbench import testing

CALLS = itertools.count()


class Estimator:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.label: Any = None

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> None:
        if self.fault == "one-class" and len(set(labels)) < 2:
            raise ValueError("needs two classes")
        self.label = 99 if self.fault == "unseen" else labels[0]
        if self.fault == "random":
            self.label = labels[next(CALLS) % len(labels)]
        if self.fault == "seeded":
            drawn = random.random(), np.random.rand(), float(torch.rand(()))
            self.label = labels[int(1000 * sum(drawn)) % len(labels)]

    def predict(self, texts: Sequence[str]) -> list[int]:
        if self.fault == "drops-blank":
            return [self.label for text in texts if text.strip()]
        if self.fault == "batch" and len(texts) == 1:
            return [self.label + 1]
        return [self.label] * len(texts)


class WithState(Estimator):
    def state(self) -> dict[str, Any]:
        return {"label": self if self.fault == "odd-state" else self.label}


class WithProbabilities(Estimator):
    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> None:
        super().fit(texts, labels)
        self.classes = len({*labels})

    def predict_proba(self, texts: Sequence[str]) -> Any:
        found = np.full((len(texts), self.classes), 1 / self.classes)
        if self.fault == "sums to 2, probabilities":
            return 2 * found
        if self.fault == "batch probabilities":
            found[:, 0] += 0.01 / len(texts)
            found[:, 1:] -= 0.01 / len(texts) / max(self.classes - 1, 1)
        if self.fault == "random probabilities":
            found[:, :2] = np.array([0.1, -0.1]) / (2 + next(CALLS)) + found[:, :2]
        return found


class BaselineUnderTest(clsbench.Baseline, frozen=True):
    """Predicts the first label, with one fault to choose."""

    fault: str = ""

    def build(self, seed: int) -> Estimator:
        if "probabilities" in self.fault:
            return WithProbabilities(self.fault)
        return WithState(self.fault) if "state" in self.fault else Estimator(self.fault)

    def from_state(self, state: Any) -> Estimator:
        restored = WithState(self.fault)
        restored.label = state["label"] + (self.fault == "other-state")
        return restored


@pytest.mark.parametrize("fault", ["", "seeded", "state", "probabilities"])
def test_check_baseline_valid_baseline_passes(fault: str) -> None:
    testing.check_baseline(BaselineUnderTest(fault))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("one-class", "fails on one class"),
        ("unseen", "not a training label"),
        ("random", "when fitted twice"),
        ("drops-blank", "labels for"),
        ("batch", "for a text alone"),
        ("odd-state", "a value that JSON cannot represent"),
        ("sums to 2, probabilities", "expected a probability for each of 2 classes (two classes)"),
        ("batch probabilities", "predict_proba() returns other probabilities for a text alone"),
        ("random probabilities", "predict_proba() returns other probabilities for a text alone"),
        ("other-state", "restored from its state, it predicts other classes"),
    ],
)
def test_check_baseline_broken_baseline_fails(fault: str, said: str) -> None:
    assert said in complaint(BaselineUnderTest(fault))


class CenteringFeatures(Estimator):
    """Classifies features; with the fault, by their difference from the mean of the batch."""

    def fit(self, features: Any, labels: Any, more: Any, more_labels: Any) -> None:
        assert len(more) == len(more_labels)
        self.labels = sorted({*labels})

    def predict(self, features: Any) -> list[int]:
        assert features.dtype == np.float32
        scores = features[:, 0] - (features[:, 0].mean() if self.fault else 0.0)
        return [self.labels[0] if score <= 0 else self.labels[-1] for score in scores]


class FeatureBaseline(clsbench.Baseline, frozen=True):
    """Classifies pooled features, with one fault to choose."""

    inputs = "pooled-features"
    fault: str = ""

    def build(self, seed: int) -> Estimator:
        return CenteringFeatures(self.fault)


def test_check_baseline_on_pooled_features_passes_or_fails() -> None:
    testing.check_baseline(FeatureBaseline())
    assert "for a text alone" in complaint(FeatureBaseline("centered"))
