"""Bootstrap intervals, and contributions of texts to a metric."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metric_examples import CATALOG

import clsbench
from clsbench.analysis.metrics import metric_value, wilson_interval
from clsbench.analysis.paired import compare_contributions, compare_correct
from clsbench.analysis.resampling import MOST_GROUPS, bootstrap_interval, contributions
from clsbench.components.metric import Metric
from clsbench.components.resolve import make_metric
from clsbench.errors import UndefinedMetricError


class Share(clsbench.Metric, frozen=True):
    """The share of correct texts, computed quickly; undefined without the last class."""

    def compute(self, labels: np.ndarray, probabilities: np.ndarray) -> float:
        if not (labels == probabilities.shape[1] - 1).any():
            raise ValueError("no text has the last class")
        return float((probabilities.argmax(axis=1) == labels).mean())


def metric(name: str) -> Metric:
    return make_metric(name, CATALOG)[1]


def drawn(texts: int, sharp: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of two classes, and noisy probabilities."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, texts)
    second = 1 / (1 + np.exp(-(sharp * (labels - 0.5) + generator.normal(size=texts))))
    return labels, np.stack([1 - second, second], axis=1)


def test_bootstrap_interval_of_the_accuracy_is_near_wilsons() -> None:
    labels, probabilities = drawn(300)
    low, high = bootstrap_interval("share", Share(), labels, [probabilities])
    correct = int((probabilities.argmax(axis=1) == labels).sum())
    assert (low, high) == pytest.approx(wilson_interval(correct, 300), abs=0.012)
    assert (low, high) == bootstrap_interval("share", Share(), labels, [probabilities])


def test_bootstrap_interval_leaves_out_resamples_without_a_value() -> None:
    labels, probabilities = np.zeros(20, dtype=np.int64), np.tile([0.4, 0.6], (20, 1))
    labels[0] = 1
    low, high = bootstrap_interval("share", Share(), labels, [probabilities])
    assert 0 <= low <= 1 / 20 <= high < 0.5
    with pytest.raises(UndefinedMetricError, match="share is undefined: no text has the last"):
        bootstrap_interval("share", Share(), labels[1:], [probabilities[1:]])


def test_bootstrap_interval_of_a_biased_metric_contains_its_value() -> None:
    """The calibration error of a calibrated classifier is higher on every resample."""
    generator = np.random.default_rng(3)
    second = generator.uniform(size=200)
    labels = (generator.uniform(size=200) < second).astype(np.int64)
    probabilities = np.stack([1 - second, second], axis=1)
    low, high = bootstrap_interval("ece", metric("ece"), labels, [probabilities])
    assert low < metric("ece").compute(labels, probabilities) < high


def test_contributions_to_the_accuracy_are_whether_texts_are_correct() -> None:
    labels, probabilities = drawn(60)
    found = contributions("share", Share(), labels, probabilities)
    assert found == pytest.approx((probabilities.argmax(axis=1) == labels).astype(float), abs=1e-9)


def _contributions(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    predicted = np.where(right, labels, 1 - labels)
    return contributions("share", Share(), labels, np.eye(2)[predicted])


@pytest.mark.parametrize("seeds", [1, 3])
def test_compare_contributions_to_the_accuracy_agrees_with_mcnemars_test(seeds: int) -> None:
    labels, _ = drawn(80)
    sides = []
    for side in (0, 1):
        right = [np.random.default_rng(10 * side + s).random(80) < 0.7 + side / 8
                 for s in range(seeds)]  # fmt: skip
        sides.append(np.stack(right))
    values = [np.stack([_contributions(labels, right) for right in side]) for side in sides]
    plain = compare_correct(*sides)
    found = compare_contributions(*values, (sides[0], sides[1]), plain.difference)
    assert found.p == pytest.approx(plain.p, rel=1e-6)
    assert found.interval == pytest.approx(plain.interval, abs=0.01)
    assert (found.only_a, found.only_b) == (plain.only_a, plain.only_b)


def test_contributions_to_the_roc_auc_have_delongs_variance() -> None:
    labels, probabilities = drawn(150)
    found = contributions("roc-auc", metric("roc-auc"), labels, probabilities)
    score = probabilities[:, 1]
    positive, negative = score[labels == 1], score[labels == 0]
    ahead = (positive[:, None] > negative[None, :]).astype(float)
    variance = ahead.mean(1).var(ddof=1) / len(positive) + ahead.mean(0).var(ddof=1) / len(negative)
    assert math.sqrt(found.var(ddof=1) / len(found)) == pytest.approx(math.sqrt(variance), rel=0.02)
    assert found.mean() == pytest.approx(ahead.mean(), abs=1e-3)


def test_contributions_of_many_texts_are_of_groups() -> None:
    labels, probabilities = drawn(2 * MOST_GROUPS + 1)
    found = contributions("share", Share(), labels, probabilities)
    assert len(found) == MOST_GROUPS
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    assert found.mean() == pytest.approx(accuracy, abs=0.01)


def test_contributions_text_that_alone_makes_the_metric_defined_counts_as_unchanged() -> None:
    labels = np.array([1, 0, 0, 0])
    found = contributions("share", Share(), labels, np.eye(2)[[1, 0, 0, 1]])
    assert found[0] == pytest.approx(0.75)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [("accuracy", 400), ("macro-f1", 50), ("roc-auc", 50)])
def test_paired_test_of_equally_good_classifiers_is_rarely_significant(
    name: str, times: int
) -> None:
    """In at most 5 % of simulated pairs on 40 texts, up to the error of the simulation."""
    measure = metric(name)
    generator = np.random.default_rng(times)
    labels, significant = np.arange(40) % 2, 0
    for _ in range(times):
        easy = generator.normal(size=40)  # for both classifiers
        logits = [2 * labels - 1 + 0.8 * easy + generator.normal(0, 0.6, 40) for _ in range(2)]
        both = [np.column_stack([1 - p, p]) for p in (1 / (1 + np.exp(-each)) for each in logits)]
        first, second = ((each.argmax(axis=1) == labels)[None] for each in both)
        if name == "accuracy":
            found = compare_correct(first, second)
        else:
            a, b = (contributions(name, measure, labels, each)[None] for each in both)
            values = [metric_value(name, measure, labels, each) for each in both]
            found = compare_contributions(a, b, (first, second), values[1] - values[0])
        significant += found.p <= 0.05
    assert significant <= 0.05 * times + 2.33 * (0.05 * 0.95 * times) ** 0.5
