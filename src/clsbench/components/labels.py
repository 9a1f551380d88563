"""The labels of texts: one class each or, for multi-label data, any number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Task = Literal["single-label", "multi-label"]
"""A shape of labels: one class per text, or any number of classes."""

Label = int | tuple[int, ...]
"""The index of a text's class or, for multi-label data, the indices of its classes, ascending."""

SEPARATOR = "|"
"""Divides the classes of a text where they are written as one value; no class name contains it."""

NO_CLASS = "(none)"
"""Shown in reports for a text of multi-label data without a class."""

_SUM_TOLERANCE = 1e-6
"""Rows of a float32 softmax sum to 1 only nearly."""


def classes_of(label: Label) -> tuple[int, ...]:
    """The classes of a text."""
    return label if isinstance(label, tuple) else (int(label),)


def label_array(labels: Sequence[Label], classes: int | None) -> NDArray[Any]:
    """The labels as (N,) int64 or, for multi-label data of this many ``classes``, (N, C) bool."""
    import numpy as np

    if classes is None:
        return np.array(labels, dtype=np.int64)
    found = np.zeros((len(labels), classes), dtype=np.bool_)
    for row, label in zip(found, labels, strict=True):
        row[list(classes_of(label))] = True
    return found


def labels_of(array: NDArray[Any]) -> list[Label]:
    """The labels in an array (N,) of integers or (N, C) bool."""
    if array.ndim == 1:
        return [int(label) for label in array]
    return [tuple(n for n, own in enumerate(row) if own) for row in array.tolist()]


def label_text(label: Label, class_names: Sequence[str]) -> str:
    """The name of the class; for multi-label data the joined names, empty if there are none."""
    return SEPARATOR.join(class_names[each] for each in classes_of(label))


def classes_in_text(text: str) -> list[str]:
    """The names of the classes that :func:`label_text` has joined, for multi-label data."""
    return text.split(SEPARATOR) if text else []


def decided(
    probabilities: NDArray[np.floating], thresholds: Sequence[float] | None
) -> NDArray[Any]:
    """The predicted labels for ``probabilities`` (N, C).

    Without thresholds the most probable class (N,); with them, for multi-label data, (N, C) bool:
    each class whose probability is at least its threshold.
    """
    import numpy as np

    found: NDArray[Any] = (
        probabilities.argmax(axis=1)
        if thresholds is None
        else probabilities >= np.asarray(thresholds)
    )
    return found


def are_probabilities(found: NDArray[np.floating], multi_label: bool) -> NDArray[np.bool_]:
    """Whether each row of ``found`` (N, C) holds probabilities: numbers from 0 to 1 whose sum is 1,
    except for multi-label data."""
    import numpy as np

    good: NDArray[np.bool_] = np.all((found >= 0) & (found <= 1), axis=1)  # NaN is neither
    if not multi_label:
        good &= np.asarray(np.abs(found.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    return good
