"""The split ``stratified``: how many and which texts of each class each part gets."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.data.strata import class_sizes, stratified

shares = st.tuples(st.integers(1, 98), st.integers(1, 98)).filter(lambda s: sum(s) < 100)


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (1, [1, 0, 0]),
        (2, [1, 0, 1]),
        (3, [2, 0, 1]),
        (4, [2, 1, 1]),
        (5, [3, 1, 1]),
        (10, [7, 1, 2]),
        (20, [14, 2, 4]),
        (747, [523, 75, 149]),
    ],
)
def test_class_sizes_default_shares_give_expected_counts(texts: int, sizes: list[int]) -> None:
    assert class_sizes(texts, 0.7, 0.1) == sizes


@given(st.integers(1, 500), shares)
def test_class_sizes_are_within_one_of_the_shares(texts: int, percent: tuple[int, int]) -> None:
    train, validation = percent
    counts = class_sizes(texts, train / 100, validation / 100)
    assert sum(counts) == texts
    assert counts[0] >= 1
    assert min(counts) >= 0
    for count, share in zip(counts, (train, validation, 100 - train - validation), strict=True):
        assert abs(count - Fraction(texts * share, 100)) <= 1


@given(st.integers(3, 500), st.integers(20, 60), st.integers(10, 20))
def test_class_sizes_of_three_texts_or_more_reach_the_test_split(
    texts: int, train: int, validation: int
) -> None:
    counts = class_sizes(texts, train / 100, validation / 100)
    assert counts[2] >= 1
    assert counts[1] >= 1 or texts < 5


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), shares)
def test_stratified_is_a_partition_without_empty_splits(
    sizes: list[int], percent: tuple[int, int]
) -> None:
    labels = [label for label, n in enumerate(sizes) for _ in range(n)]
    parts = stratified(labels, percent[0] / 100, percent[1] / 100)
    assert sorted(place for part in parts for place in part) == list(range(len(labels)))
    assert all(part == sorted(part) for part in parts)
    assert {labels[place] for place in parts[0]} == set(labels)
    if len(labels) >= len(sizes) + 2:
        assert all(parts)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.permutations(range(6)))
def test_stratified_does_not_depend_on_the_order_of_the_classes(
    labels: list[int], renamed: list[int]
) -> None:
    assert stratified(labels, 0.7, 0.1) == stratified([renamed[n] for n in labels], 0.7, 0.1)


def test_stratified_fills_a_split_that_small_classes_leave_empty() -> None:
    labels = [n % 50 for n in range(150)]
    train, validation, test = stratified(labels, 0.7, 0.1)
    assert (len(train), len(validation), len(test)) == (85, 15, 50)
    assert Counter(labels[place] for place in test) == dict.fromkeys(range(50), 1)
