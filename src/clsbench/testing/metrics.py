"""The contract of a metric: a number within its limits that does not depend on the texts' order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clsbench.components.metric import Metric
from clsbench.testing.promises import check_options, require

_TOLERANCE = 1e-9
_TEXTS = 60


def check_metric(metric: Metric) -> None:
    """Check a metric on ordinary and unusual predictions: ties, one class, a missing class.

    It returns a finite number within its limits, the same when computed again and for the texts in
    another order, and leaves its arguments unchanged. It may raise ``ValueError`` if it is
    undefined, but not for ordinary predictions for texts of all classes. One that needs no
    probabilities reads only which class has the highest.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(metric)
    for task in metric.tasks:
        cases = _single_label() if task == "single-label" else _multi_label()
        for name, labels, probabilities in cases:
            value = _value(metric, name, labels, probabilities)
            require(
                value is not None or name not in ("two classes", "three classes"),
                metric,
                f"it is undefined for ordinary predictions ({name})",
            )
            if value is not None:
                _check_value(metric, name, value, labels, probabilities)


def _check_value(
    metric: Metric,
    name: str,
    value: float,
    labels: NDArray[np.int64] | NDArray[np.bool_],
    probabilities: NDArray[np.float64],
) -> None:
    low, high = metric.limits
    require(
        low - _TOLERANCE <= value <= high + _TOLERANCE,
        metric,
        f"it returns {value}, outside its limits {low} to {high} ({name})",
    )
    again = _value(metric, name, labels, probabilities)
    require(again == value, metric, f"computed again, it returns {again}, not {value} ({name})")
    order = np.random.default_rng(1).permutation(len(labels))
    turned = _value(metric, name, labels[order], probabilities[order])
    require(
        turned is not None and math.isclose(turned, value, rel_tol=1e-9, abs_tol=_TOLERANCE),
        metric,
        f"it returns {turned}, not {value}, for the texts in another order ({name})",
    )
    if not metric.needs_probabilities:
        sure = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
        if labels.ndim == 2:
            sure = (probabilities >= 0.5).astype(np.float64)
        found = _value(metric, name, labels, sure)
        require(
            found == value,
            metric,
            f"it declares needs_probabilities = False, but returns {found}, not {value}, if the "
            f"most probable class has the probability 1 ({name})",
        )


def _value(
    metric: Metric,
    name: str,
    labels: NDArray[np.int64] | NDArray[np.bool_],
    probabilities: NDArray[np.float64],
) -> float | None:
    """The value, ``None`` if the metric declares it to be undefined."""
    given = labels.copy(), probabilities.copy()
    try:
        value = metric.compute(*given)
        number = float(value)
    except ValueError as undefined:
        require(bool(str(undefined)), metric, f"its ValueError has no message ({name})")
        return None
    except Exception as error:
        raise AssertionError(
            f"{metric!r}: it fails on {name}: {type(error).__name__}: {error}; if it is undefined, "
            "it raises ValueError with the reason"
        ) from error
    require(
        np.array_equal(given[0], labels) and np.array_equal(given[1], probabilities),
        metric,
        f"it changes its arguments ({name})",
    )
    require(
        math.isfinite(number),
        metric,
        f"it returns {number} ({name}); if it is undefined, it raises ValueError with the reason",
    )
    return number


def _single_label() -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    generator = np.random.default_rng(0)
    for name, classes in (("two classes", 2), ("three classes", 3)):
        labels = np.arange(_TEXTS, dtype=np.int64) % classes
        probabilities = generator.dirichlet(np.ones(classes), _TEXTS)
        yield name, labels, probabilities
        yield f"{name}, all correct", labels, np.eye(classes)[labels]
        yield f"{name}, all wrong", labels, np.eye(classes)[(labels + 1) % classes]
        yield f"{name}, equal probabilities", labels, np.full((_TEXTS, classes), 1 / classes)
        yield f"{name}, all of the first", np.zeros(_TEXTS, dtype=np.int64), probabilities
        yield f"{name}, one text", labels[:1], probabilities[:1]
    yield "a class without texts", np.arange(_TEXTS, dtype=np.int64) % 2, probabilities


def _multi_label() -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    generator = np.random.default_rng(0)
    for name, classes in (("two classes", 2), ("three classes", 3)):
        labels = generator.random((_TEXTS, classes)) < 0.4
        yield name, labels, generator.random((_TEXTS, classes))
        yield f"{name}, all correct", labels, labels.astype(np.float64)
        yield f"{name}, no labels", np.zeros_like(labels), generator.random((_TEXTS, classes))
