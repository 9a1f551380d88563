"""Subsets of a training split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.components.labels import Label, classes_of
from clsbench.components.values import Split, Splits
from clsbench.data.splits import splits_sha256
from clsbench.data.subsets import with_train_size
from clsbench.errors import UsageError


def splits_of(labels: Sequence[Label], multi_label: bool = False) -> Splits:
    def split(name: str, labels: Sequence[Label], start: int) -> Split:
        rows = tuple(range(start, start + len(labels)))
        texts = tuple(f"text {row}" for row in rows)
        return Split(name=name, rows=rows, texts=texts, labels=tuple(labels))

    return Splits(
        class_names=("a", "b", "c"),
        train=split("train", labels, 0),
        validation=split("validation", [0, 1], 1000),
        test=split("test", [0, 1, 2], 2000),
        multi_label=multi_label,
    )


many_labels = st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=2, max_size=60)


@given(many_labels, st.integers(0, 2**32 - 1))
def test_with_train_size_subsets_are_nested_and_stratified(labels: list[int], seed: int) -> None:
    whole, counts = splits_of(labels), Counter(labels)
    smaller: set[int] = set()
    for size in range(len(counts), len(labels) + 1):
        found = with_train_size(whole, size, seed)
        assert len(found.train) == size
        assert smaller <= set(found.train.rows)
        smaller = set(found.train.rows)
        assert list(found.train.rows) == sorted(found.train.rows)
        assert [f"text {row}" for row in found.train.rows] == list(found.train.texts)
        assert [labels[row] for row in found.train.rows] == list(found.train.labels)
        taken = Counter(found.train.labels)
        assert taken.keys() == counts.keys()
        for label, count in counts.items():
            if size >= 5 * len(counts):  # with fewer texts, the text of each class weighs more
                assert abs(taken[label] - size * count / len(labels)) < 2
        assert (found.validation, found.test) == (whole.validation, whole.test)


def test_with_train_size_all_texts_or_none_keep_the_split() -> None:
    whole = splits_of([0, 1, 0, 2])
    for size in (None, 4):
        assert splits_sha256(with_train_size(whole, size, 1)) == splits_sha256(whole)


def test_with_train_size_keeps_the_subset_of_earlier_versions() -> None:
    """Stored runs of a subset are found again."""
    found = with_train_size(splits_of([0, 1, 0, 2] * 10), 12, 123)
    assert found.train.rows == (8, 9, 13, 14, 15, 16, 18, 23, 33, 34, 36, 39)


label_sets = st.lists(st.sampled_from([(), (0,), (1,), (0, 2), (0, 1, 2)]), min_size=3, max_size=60)


@given(label_sets, st.integers(0, 2**32 - 1))
def test_with_train_size_subsets_of_label_sets_are_nested_and_stratified(
    labels: list[Label], seed: int
) -> None:
    def counts(labels: Sequence[Label]) -> Counter[int]:
        return Counter(each for label in labels for each in classes_of(label))

    whole, of_labels = splits_of(labels, multi_label=True), counts(labels)
    smaller: set[int] = set()
    for size in range(3, len(labels) + 1):
        found = with_train_size(whole, size, seed).train
        assert len(found) == size
        assert smaller <= set(found.rows)
        smaller = set(found.rows)
        taken = counts(found.labels)
        assert taken.keys() == of_labels.keys()
        for label, count in of_labels.items():
            assert abs(taken[label] - size * count / len(labels)) < 3, "a text for each label"


def test_with_train_size_subset_depends_on_the_seed_alone() -> None:
    whole = splits_of([0, 1] * 30)
    first, again, other = (with_train_size(whole, 10, seed).train.rows for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (5, "data.train_size = 5 is larger than the training split of 4 texts"),
        (2, "data.train_size = 2 is smaller than the number of classes in the training split (3: "
            "'a', 'b', 'c')"),
    ],
)  # fmt: skip
def test_with_train_size_impossible_size_is_refused(size: int, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(said)}"):
        with_train_size(splits_of([0, 1, 0, 2]), size, 1)
