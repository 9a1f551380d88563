"""Stratified splits and rankings of texts with several labels each."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clsbench.components.labels import Label, classes_of, label_array
from clsbench.data.label_strata import ranked_labels, stratified_labels

label_sets = st.lists(
    st.sets(st.integers(0, 3)).map(lambda found: tuple(sorted(found))), min_size=3, max_size=80
)


@given(label_sets)
def test_stratified_labels_divides_every_text_once_by_the_shares(labels: list[Label]) -> None:
    parts = stratified_labels(labels, 0.7, 0.1)
    assert sorted(place for part in parts for place in part) == list(range(len(labels)))
    assert [part == sorted(part) for part in parts] == [True] * 3
    # Each label may move a text, since the rarest is divided first.
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(labels)) <= 5


def test_stratified_labels_gives_every_split_its_share_of_a_rare_label() -> None:
    generator = random.Random(1)
    labels: list[Label] = [
        tuple(n for n, share in enumerate((0.5, 0.3, 0.04)) if generator.random() < share)
        for _ in range(1000)
    ]
    rare = sum(2 in label for label in labels if isinstance(label, tuple))
    for part, share in zip(stratified_labels(labels, 0.7, 0.1), (0.7, 0.1, 0.2), strict=True):
        found = sum(2 in label for place in part if isinstance(label := labels[place], tuple))
        assert abs(found - share * rare) < 1


def deviations(labels: list[Label], order: list[int]) -> NDArray[np.float64]:
    """By how many texts each label (columns) differs from its share in every start (rows)."""
    has = label_array(labels, 1 + max(each for label in labels for each in classes_of(label)))
    numbers = np.arange(1, len(order) + 1)[:, np.newaxis]
    difference: NDArray[np.float64] = has[order].cumsum(axis=0) - numbers * has.mean(axis=0)
    return np.abs(difference)


@given(label_sets.filter(any), st.integers(0, 2**32 - 1))
def test_ranked_labels_every_start_is_stratified_and_has_every_label(
    labels: list[Label], seed: int
) -> None:
    order, least = ranked_labels(labels, seed, len(labels))
    assert sorted(order) == list(range(len(labels)))
    assert deviations(labels, order).max() < 4, "a text for each of the labels"

    def covered(places: list[int]) -> set[int]:
        return {each for place in places for each in classes_of(labels[place])}

    assert covered(order[:least]) == covered(order)
    assert covered(order[: least - 1]) < covered(order)
    assert least <= 4


@given(label_sets.filter(any), st.integers(0, 100), st.integers(0, 80))
def test_ranked_labels_of_a_size_are_the_start_of_all(
    labels: list[Label], seed: int, size: int
) -> None:
    size = min(size, len(labels))
    order, least = ranked_labels(labels, seed, len(labels))
    assert ranked_labels(labels, seed, size) == (order[: max(size, least)], least)


def test_ranked_labels_of_many_combinations_are_closer_than_random_ones() -> None:
    """28 labels that occur together more often than by chance, in more than 200 combinations."""
    generator = random.Random(1)
    labels: list[Label] = []
    for _ in range(2000):
        factor = generator.choice((0.2, 1.8))
        labels.append(tuple(n for n in range(28) if generator.random() < factor * 0.3 / (n + 1)))
    assert len(set(labels)) > 200
    order, _ = ranked_labels(labels, 1, len(labels))
    drawn = random.Random(2).sample(range(len(labels)), len(labels))
    assert deviations(labels, order).max() < 2
    assert deviations(labels, drawn).max() > 10
    counts = Counter(labels)

    def off(places: list[int]) -> float:
        """The mean squared difference of combinations from their shares of 400 texts."""
        found = Counter(labels[place] for place in places[:400])
        return float(np.mean([(found[each] - counts[each] / 5) ** 2 for each in counts]))

    assert off(order) < off(drawn) / 2
