"""Labels of one class per text, or of any number."""

from __future__ import annotations

import numpy as np
import pytest

from clsbench.components.labels import (
    Label,
    classes_in_text,
    decided,
    label_array,
    label_text,
    labels_of,
)

NAMES = ("billing", "login", "speed")


@pytest.mark.parametrize(
    ("labels", "classes", "dtype", "texts"),
    [
        ([2, 0], None, np.int64, ["speed", "billing"]),
        ([(0, 2), (), (1,)], 3, np.bool_, ["billing|speed", "", "login"]),
    ],
)
def test_label_array_is_read_back(
    labels: list[Label], classes: int | None, dtype: type, texts: list[str]
) -> None:
    array = label_array(labels, classes)
    assert array.dtype == dtype
    assert labels_of(array) == labels
    assert [label_text(label, NAMES) for label in labels] == texts
    assert classes_in_text(texts[0]) == texts[0].split("|")
    assert classes_in_text("") == []


def test_decided_takes_the_most_probable_class_or_those_from_their_threshold_on() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.9, 0.1, 0.8]])
    assert decided(probabilities, None).tolist() == [1, 0]
    found = decided(probabilities, (0.2, 0.6, 0.8))
    assert found.tolist() == [[True, False, False], [True, False, True]]
