"""The built-in metrics against scikit-learn and computations by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_examples import CATALOG
from sklearn import metrics as sk

from clsbench.analysis.calibration import calibration
from clsbench.components.metric import Metric
from clsbench.components.resolve import make_metric

NAMES = sorted(CATALOG.entries["metrics"])


def metric(name: str) -> Metric:
    return make_metric(name, CATALOG)[1]


def drawn(classes: int, texts: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return np.arange(texts) % classes, generator.dirichlet(np.ones(classes), texts)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("accuracy", lambda y, p: sk.accuracy_score(y, p.argmax(1))),
        ("balanced-accuracy", lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1))),
        ("macro-f1", lambda y, p: sk.f1_score(y, p.argmax(1), average="macro")),
        ("micro-f1", lambda y, p: sk.accuracy_score(y, p.argmax(1))),
        ("mcc", lambda y, p: sk.matthews_corrcoef(y, p.argmax(1))),
        ("log-loss", lambda y, p: -np.log(p[np.arange(len(y)), y]).mean()),
        ("brier", lambda y, p: ((p - np.eye(p.shape[1])[y]) ** 2).sum() / len(y)),
        ("ece", lambda y, p: calibration(y, p).ece),
    ],
)
def test_metric_agrees_with_scikit_learn_or_its_definition(
    name: str, theirs: Any, classes: int
) -> None:
    labels, probabilities = drawn(classes)
    expected = theirs(labels, probabilities)
    assert metric(name).compute(labels, probabilities) == pytest.approx(expected, abs=1e-12)


def test_counted_metrics_equal_scikit_learn_to_the_bit() -> None:
    generator = np.random.default_rng(2)
    labels, probabilities = generator.integers(0, 3, 150), generator.dirichlet(np.ones(4), 150)
    predicted, present = probabilities.argmax(1), [0, 1, 2]  # no text has the last class
    expected = {
        "balanced-accuracy": sk.recall_score(labels, predicted, labels=present, average="macro"),
        "macro-f1": sk.f1_score(labels, predicted, labels=present, average="macro"),
        "micro-f1": sk.f1_score(labels, predicted, average="micro"),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "log-loss": sk.log_loss(
            labels, probabilities / probabilities.sum(1, keepdims=True), labels=range(4)
        ),
    }
    assert {name: metric(name).compute(labels, probabilities) for name in expected} == expected


@pytest.mark.parametrize("classes", [2, 3])
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(classes: int) -> None:
    labels, probabilities = drawn(classes, 40)
    shares = []
    for each in range(classes):
        inside, outside = probabilities[labels == each, each], probabilities[labels != each, each]
        ahead = inside[:, None] > outside[None, :]
        shares.append(ahead.mean() + (inside[:, None] == outside[None, :]).mean() / 2)
    found = metric("roc-auc").compute(labels, probabilities)
    assert found == pytest.approx(np.mean(shares), abs=1e-12)
    if classes == 2:
        theirs = sk.roc_auc_score(labels, probabilities[:, 1])
        assert found == pytest.approx(theirs, abs=1e-12), "both classes against the other are equal"
    else:
        theirs = sk.roc_auc_score(labels, probabilities, multi_class="ovr")
        assert found == pytest.approx(theirs, abs=1e-12)


def test_average_precision_is_the_mean_over_the_classes() -> None:
    labels, probabilities = drawn(3, 40)
    each = [sk.average_precision_score(labels == c, probabilities[:, c]) for c in range(3)]
    found = metric("average-precision").compute(labels, probabilities)
    assert found == pytest.approx(np.mean(each), abs=1e-12)


def test_brier_of_two_classes_is_twice_that_of_one() -> None:
    labels, probabilities = drawn(2)
    theirs = 2 * sk.brier_score_loss(labels, probabilities[:, 1])
    assert metric("brier").compute(labels, probabilities) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("name", ["roc-auc", "average-precision"])
def test_ranking_metrics_of_one_class_are_undefined(name: str) -> None:
    with pytest.raises(ValueError, match="all texts have the same class"):
        metric(name).compute(np.zeros(4, dtype=np.int64), np.full((4, 2), 0.5))


@pytest.mark.parametrize("name", ["roc-auc", "average-precision", "macro-f1", "balanced-accuracy"])
def test_metric_of_classes_leaves_out_those_without_texts(name: str) -> None:
    labels, probabilities = drawn(2)
    with_third = np.hstack([probabilities, np.zeros((len(labels), 1))])
    found = metric(name).compute(labels, with_third)
    assert found == pytest.approx(metric(name).compute(labels, probabilities), abs=1e-12)


def test_log_loss_of_an_impossible_class_is_finite() -> None:
    found = metric("log-loss").compute(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert math.isfinite(found)
    assert found > 10


@pytest.mark.filterwarnings("error")
def test_log_loss_of_a_float32_softmax_does_not_warn() -> None:
    labels, probabilities = drawn(3)
    rounded = probabilities.astype(np.float32).astype(np.float64)
    found = metric("log-loss").compute(labels, rounded)
    assert found == pytest.approx(metric("log-loss").compute(labels, probabilities), abs=1e-6)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    classes, texts = draw(st.integers(2, 4)), draw(st.integers(1, 25))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=texts, max_size=texts))
    weights = st.lists(st.integers(1, 9), min_size=classes, max_size=classes)
    rows = draw(st.lists(weights, min_size=texts, max_size=texts))
    probabilities = np.array(rows, dtype=np.float64)
    return np.array(labels), probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", NAMES)
@given(predictions(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_metric_is_within_its_limits_in_any_order_of_the_texts(
    name: str, case: tuple[np.ndarray, np.ndarray], random: Any
) -> None:
    labels, probabilities = case
    order = list(range(len(labels)))
    random.shuffle(order)
    try:
        found = metric(name).compute(labels, probabilities)
    except ValueError:
        assert len(set(labels.tolist())) == 1
        return
    low, high = metric(name).limits
    assert low - 1e-12 <= found <= high + 1e-12
    turned = metric(name).compute(labels[order], probabilities[order])
    assert turned == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_metric_is_best_for_a_perfect_classifier(name: str) -> None:
    labels, probabilities = drawn(3)
    perfect = metric(name).compute(labels, np.eye(3)[labels])
    best = metric(name).limits[metric(name).better == "higher"]
    assert perfect == pytest.approx(best, abs=1e-12)
    assert metric(name).compute(labels, probabilities) != pytest.approx(best)


def test_multi_label_metrics_equal_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    labels = generator.random((40, 4)) < (0.5, 0.3, 0.1, 0.0)  # no text has the last one
    probabilities = generator.random((40, 4))
    predicted = probabilities >= 0.5
    some, of_some, found = labels[:, :3], probabilities[:, :3], predicted[:, :3]
    columns = zip(labels.T, probabilities.T, strict=True)
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "micro-f1": sk.f1_score(labels, predicted, average="micro"),
        "macro-f1": sk.f1_score(some, found, average="macro"),
        "average-precision": sk.average_precision_score(some, of_some, average="macro"),
        "log-loss": np.mean([sk.log_loss(each, p, labels=[0, 1]) for each, p in columns]),
    }
    for name, value in expected.items():
        assert metric(name).compute(labels, probabilities) == pytest.approx(value, rel=1e-12)
    assert set(expected) == {n for n in NAMES if "multi-label" in metric(n).tasks}


@pytest.mark.parametrize("name", ["micro-f1", "macro-f1", "average-precision"])
def test_multi_label_metric_without_any_label_is_undefined(name: str) -> None:
    with pytest.raises(ValueError, match="no text has a label"):
        metric(name).compute(np.zeros((3, 2), dtype=bool), np.full((3, 2), 0.7))
