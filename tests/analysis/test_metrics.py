from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_examples import CATALOG, SHOWN
from scipy import stats
from sklearn.metrics import accuracy_score

from clsbench.analysis.metrics import metric_value, split_metrics, wilson_interval
from clsbench.components.resolve import make_metric
from clsbench.errors import UndefinedMetricError

METRICS = SHOWN.components


def wilson_by_hand(correct: int, n: int) -> tuple[float, float]:
    """E. B. Wilson, JASA 22 (1927), solved for the roots."""
    z = 1.959963984540054
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_agrees_with_the_closed_form_and_scipy(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    assert (low, high) == pytest.approx(wilson_by_hand(correct, n), abs=1e-12)
    theirs = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= low <= correct / n <= high <= 1


def test_wilson_interval_of_the_published_test_accuracy() -> None:
    low, high = wilson_interval(287, 300)  # 95.67 %
    assert (round(low, 3), round(high, 3)) == (0.927, 0.975)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_impossible_counts_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(correct, n)


@st.composite
def labels_and_predictions(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    num_classes = draw(st.integers(2, 5))
    n = draw(st.integers(1, 60))
    classes = st.lists(st.integers(0, num_classes - 1), min_size=n, max_size=n)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    return num_classes, np.array(draw(classes)), np.array(draw(classes)), np.array(draw(flags))


@given(labels_and_predictions())
def test_split_metrics_agree_with_counting_by_hand(
    case: tuple[int, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    num_classes, labels, predicted, leaked = case
    figures = split_metrics(
        labels, predicted, num_classes, metrics=METRICS, loss=0.5, leaked=leaked
    )
    assert figures.n == len(labels)
    assert figures.accuracy == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert figures.correct == sum(figures.confusion[i][i] for i in range(num_classes))
    assert figures.loss == 0.5
    for i in range(num_classes):
        for j in range(num_classes):
            assert figures.confusion[i][j] == int(((labels == i) & (predicted == j)).sum())
    assert figures.macro_f1 == pytest.approx(macro_f1_by_hand(figures.confusion), abs=1e-12)
    rest = figures.without_leaked
    if leaked.all() or not leaked.any():
        assert rest is None
    else:
        alone = split_metrics(labels[~leaked], predicted[~leaked], num_classes, metrics=METRICS)
        assert rest == alone


def macro_f1_by_hand(confusion: tuple[tuple[int, ...], ...]) -> float:
    scores = []
    for i, row in enumerate(confusion):
        predicted = sum(other[i] for other in confusion)
        if sum(row):
            scores.append(2 * row[i] / (sum(row) + predicted))
    return sum(scores) / len(scores)


def test_split_metrics_macro_f1_ignores_classes_without_texts() -> None:
    labels = np.array([0, 0, 1, 1])
    figures = split_metrics(labels, labels, 3, metrics=METRICS)
    assert figures.macro_f1 == 1.0
    assert len(figures.confusion) == 3
    # A text that is misclassified as such a class still counts as a mistake.
    figures = split_metrics(labels, np.array([0, 0, 1, 2]), 3, metrics=METRICS)
    assert figures.macro_f1 == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([0, 1, 0, 1], [0, 1, 0, 1], 1.0),
        ([0, 1, 0, 1], [1, 0, 1, 0], -1.0),
        ([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], (2 * 1 - 1 * 1) / math.sqrt(3 * 2 * 3 * 2)),
        ([0, 1, 2], [0, 2, 1], 0.0),  # no better than chance
        ([1, 1, 1], [1, 1, 1], 0.0),  # undefined
        ([0, 1, 1], [1, 1, 1], 0.0),
    ],
)
def test_split_metrics_mcc_of_small_cases_agrees_with_the_closed_form(
    labels: list[int], predicted: list[int], expected: float
) -> None:
    figures = split_metrics(np.array(labels), np.array(predicted), 3, metrics=METRICS)
    assert figures.scores["mcc"] == pytest.approx(expected, abs=1e-12)


def test_split_metrics_without_leak_flags_has_no_separate_metrics() -> None:
    found = split_metrics(np.array([0, 1]), np.array([0, 1]), 2, metrics=METRICS)
    assert found.without_leaked is None


@pytest.mark.parametrize(
    ("labels", "predicted", "leaked"),
    [
        ([], [], None),
        ([0, 1], [0], None),
        ([0, 2], [0, 1], None),
        ([0, 1], [0, -1], None),
        ([0, 1], [0, 1], [True]),
    ],
)
def test_split_metrics_mismatched_arrays_are_refused(
    labels: list[int], predicted: list[int], leaked: list[bool] | None
) -> None:
    flags = None if leaked is None else np.array(leaked)
    with pytest.raises(ValueError, match="must"):
        split_metrics(np.array(labels, int), np.array(predicted, int), 2, metrics={}, leaked=flags)


def test_split_metrics_of_several_labels_count_texts_and_labels() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=bool)
    predicted = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)
    metrics = {name: make_metric(name, CATALOG)[1] for name in ("micro-f1", "log-loss", "mcc")}
    found = split_metrics(labels, predicted, 2, metrics=metrics)
    assert (found.n, found.correct, found.confusion) == (4, 2, ())
    assert found.scores == {"micro-f1": 0.75}  # the others are not defined for these
    one, other = found.label_counts
    assert (one.support, one.precision, one.recall, one.f1) == (2, 1.0, 1.0, 1.0)
    assert (other.support, other.precision, other.recall, other.f1) == (2, 0.5, 0.5, 0.5)
    # Metrics that read only what is predicted see that, not the probabilities.
    probabilities = np.full((4, 2), 0.9)
    again = split_metrics(labels, predicted, 2, metrics=metrics, probabilities=probabilities)
    assert again.scores["micro-f1"] == 0.75
    assert again.loss == pytest.approx(-np.log([0.9, 0.1]).mean())


def test_metric_value_for_labels_of_another_shape_is_undefined() -> None:
    _, mcc = make_metric("mcc", CATALOG)
    with pytest.raises(UndefinedMetricError, match="mcc is not defined for multi-label data"):
        metric_value("mcc", mcc, np.ones((2, 2), dtype=bool), np.ones((2, 2)))
